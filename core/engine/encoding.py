"""Encoding on the workers: each builds the encoder for itself and encodes whole blocks."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..embeddings import PART_ROWS
from ..encode_blocks import encode_texts
from ..encoder import F32, Encoder, Role
from ..encoders import build
from ..encoders.devices import MultiDeviceEncoder
from ..encoders.openai import OpenAIEncoder
from ..encoders.precomputed import PrecomputedEncoder
from ..errors import PyriteError
from ..ids import I64
from ..sbert import EncoderConfig, SentenceTransformerEncoder
from .blocks import on_workers
from .session import Session, use_threads

_AT_THE_DRIVER = {
    "precomputed": "the vectors are there already",
    "openai": "the server computes, and its limits are counted by process",
}


class RayEncoder:
    """An `Encoder` whose blocks are encoded by the workers of a session.

    The driver's own copy tells dimension, fingerprint and lengths, and encodes single batches.
    """

    def __init__(self, here: Encoder, make: Callable[[], Encoder], session: Session) -> None:
        self._here = here
        self._make = make
        self._session = session

    @property
    def dimension(self) -> int:
        return self._here.dimension

    @property
    def fingerprint(self) -> str:
        return self._here.fingerprint

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        return self._here.lengths(texts, role)

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return self._here.encode_queries(texts)

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return self._here.encode_documents(texts)

    def encode_blocks(
        self, blocks: Iterable[list[str]], count: int, role: Role, max_tokens: int
    ) -> Iterator[tuple[int, F32]]:
        """`(number, vectors)` as they are done.

        Raises PyriteError if a worker's encoder is another one than the driver's.
        """
        make, fingerprint = self._make, self.fingerprint

        def worker() -> Callable[[list[str]], F32]:
            encoder = make()
            if encoder.fingerprint != fingerprint:
                raise PyriteError(
                    "the encoder of a worker is another one than the driver's"
                    f" ({encoder.fingerprint[:12]}, {fingerprint[:12]}); every node needs the same"
                    " model at the same encoder.model and the same versions of its libraries"
                )
            return lambda texts: encode_texts(encoder, texts, role, max_tokens)

        most = 4 * PART_ROWS * self.dimension
        stage = f"encode {role} texts"
        yield from on_workers(self._session, worker, blocks, count, stage, most)


def ray_encoder(config: EncoderConfig, cache: Path, session: Session) -> Encoder:
    """The encoder of `config` on the workers; one that computes nothing stays on the driver.

    The driver's copy is on its CPU, whatever `encoder.device` says of the workers'. Raises
    PyriteError as the encoders do, and for several devices: those are several workers.
    """
    if config.kind in _AT_THE_DRIVER:
        session.plan(f"encode: on the driver, as {_AT_THE_DRIVER[config.kind]}")
        return build.build_encoder(config, cache)
    if "," in config.device:
        raise PyriteError(
            f"encoder.device={config.device}: with engine=ray a worker has one device; set"
            " encoder.device=cuda, ray.workers and ray.gpus_per_worker"
        )
    here = build.build_encoder(config.model_copy(update={"device": "cpu"}), cache)
    shared, threads = cache if session.sees_files else None, session.threads

    def make() -> Encoder:
        use_threads(threads)
        return build.build_encoder(config, shared or Path(tempfile.gettempdir()) / "pyrite")

    return RayEncoder(here, make, session)


def given_encoder(encoder: Encoder, session: Session) -> Encoder:
    """An encoder that is there as an object: sent to the workers as it is, by cloudpickle.

    A sentence-transformers model in memory stays on the driver: it may be in training.
    """
    if isinstance(encoder, RayEncoder | PrecomputedEncoder | OpenAIEncoder):
        return encoder
    if isinstance(encoder, SentenceTransformerEncoder | MultiDeviceEncoder):
        session.plan("encode: on the driver, with the model that it has in memory")
        return encoder
    threads = session.threads

    def make() -> Encoder:
        # what does not compute with torch need not load it
        if "torch" in sys.modules:
            use_threads(threads)
        return encoder

    return RayEncoder(encoder, make, session)

"""One model on several devices: a replica for each, batches dealt out in turn."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

from ..encoder import F32, Role
from ..errors import PyriteError
from ..ids import I64
from ..sbert import EncoderConfig, SentenceTransformerEncoder
from .parallel import in_order


def device_names(config: EncoderConfig) -> list[str]:
    """The devices in `encoder.device`; raises PyriteError unless all are of one type."""
    names = [name.strip() for name in config.device.split(",")]
    types = {name.partition(":")[0] for name in names}
    if "" in names or len(types) > 1:
        raise PyriteError(
            f"encoder.device={config.device!r}: expected one device or a list of one type"
            " such as cuda:0,cuda:1; other types compute other bytes"
        )
    return names


class MultiDeviceEncoder:
    """An `Encoder` with a sentence-transformers replica on each device of `encoder.device`.

    Batch i of `encode_batches` goes to replica i modulo their number, whatever the timing, so the
    vectors are those of one device with the same batches. A single batch goes to the first.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self._replicas = [
            SentenceTransformerEncoder(config.model_copy(update={"device": name}))
            for name in device_names(config)
        ]
        # a fast tokenizer keeps its padding as state: no two threads may use one at once
        self._locks = [threading.Lock() for _ in self._replicas]
        first = self._replicas[0]
        if any(replica.fingerprint != first.fingerprint for replica in self._replicas):
            raise PyriteError(
                f"encoder.model={config.model!r} changed while it was loaded for the devices"
                f" {config.device}; run again"
            )

    @property
    def dimension(self) -> int:
        return self._replicas[0].dimension

    @property
    def fingerprint(self) -> str:
        return self._replicas[0].fingerprint

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        with self._locks[0]:
            return self._replicas[0].lengths(texts, role)

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return self._encode((0, texts), "query")

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return self._encode((0, texts), "document")

    def encode_batches(self, batches: Iterable[Sequence[str]], role: Role) -> Iterator[F32]:
        """Vectors of each batch, float32 [len(batch), D], in the order of the batches."""
        return in_order(
            lambda job: self._encode(job, role), enumerate(batches), len(self._replicas)
        )

    def _encode(self, job: tuple[int, Sequence[str]], role: Role) -> F32:
        number, texts = job
        at = number % len(self._replicas)
        replica = self._replicas[at]
        with self._locks[at]:
            if role == "query":
                return replica.encode_queries(texts)
            return replica.encode_documents(texts)

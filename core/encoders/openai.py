"""Encoding on an OpenAI-compatible server, through the official client."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..digest import digest_json
from ..encoder import F32, Role
from ..ids import I64
from ..server.connection import Connection
from ..server.failures import Failure, Knobs
from .common import approximate_lengths, unit_rows
from .parallel import in_order
from .replies import vectors_from

if TYPE_CHECKING:
    from ..sbert import EncoderConfig

_PROBE = "dimension"
_KNOBS = Knobs(
    "encoder.openai",
    smaller="lower encoder.openai.request_texts",
    rejected="check encoder.openai.model, .dimensions, .max_chars and .request_tokens",
)


class OpenAIEncoder:
    """An `Encoder` that asks a server; `concurrency` requests are under way at once.

    Texts go out in requests of at most `request_texts` texts and about `request_tokens` tokens.
    A failed request is sent again, see `Connection`. An empty text is sent as a blank, since
    servers refuse empty ones.
    """

    def __init__(self, config: EncoderConfig) -> None:
        """Connects to nothing yet.

        Raises PyriteError without an address, a model or the key's environment variable, and
        MissingExtraError without the package `openai`.
        """
        section = config.openai
        self._connection = Connection(section, "encoder.kind=openai", _KNOBS)
        self._section = section
        self._normalize = config.normalize
        self._prompts: dict[Role, str] = {
            "query": config.query_prompt or "",
            "document": config.document_prompt or "",
        }
        self._dimension = section.dimensions
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        """D: `encoder.openai.dimensions`, or what the server answers to one short text."""
        if self._dimension is None:
            self._send([_PROBE], threading.Event())
        assert self._dimension is not None
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Digest of what shapes a vector as far as it can be known here; never of the address."""
        section = self._section
        return digest_json(
            {
                "kind": "openai",
                "model": section.model,
                "revision": section.revision,
                "dimensions": section.dimensions,
                "max_chars": section.max_chars,
                "prompts": [self._prompts["query"], self._prompts["document"]],
                "normalize": self._normalize,
            }
        )

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        """Approximate tokens, a quarter of the UTF-8 bytes; int64 [len(texts)]."""
        return approximate_lengths(self._inputs(texts, role))

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return next(self.encode_batches([texts], "query"))

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return next(self.encode_batches([texts], "document"))

    def encode_batches(self, batches: Iterable[Sequence[str]], role: Role) -> Iterator[F32]:
        """Vectors of each batch, float32 [len(batch), D], in the order of the batches."""
        listed = [self._inputs(batch, role) for batch in batches]
        requests = [self._requests(batch) for batch in listed]
        stop = threading.Event()
        replies = in_order(
            lambda texts: self._send(texts, stop),
            (request for batch in requests for request in batch),
            self._section.concurrency,
            stop.set,
        )
        for batch in requests:
            parts = [next(replies) for _ in batch]
            empty = np.empty((0, self.dimension), dtype=np.float32)
            vectors = np.concatenate([empty, *parts])
            yield unit_rows(vectors) if self._normalize else vectors

    def _inputs(self, texts: Sequence[str], role: Role) -> list[str]:
        limit = self._section.max_chars
        return [(self._prompts[role] + text)[:limit] or " " for text in texts]

    def _requests(self, texts: Sequence[str]) -> list[list[str]]:
        """Cut texts into requests, in order; a text over the token limit goes alone."""
        found: list[list[str]] = []
        tokens = 0
        for text, length in zip(texts, approximate_lengths(texts).tolist(), strict=True):
            fits = tokens + length <= self._section.request_tokens
            if not found or not fits or len(found[-1]) == self._section.request_texts:
                found.append([])
                tokens = 0
            found[-1].append(text)
            tokens += length
        return found

    def _send(self, texts: list[str], stop: threading.Event) -> F32:
        """Vectors of one request, float32 [len(texts), D]; sent again while that can help."""
        tokens = int(approximate_lengths(texts).sum())
        return self._connection.send(lambda: self._ask(texts), tokens, stop)

    def _ask(self, texts: list[str]) -> F32:
        section = self._section
        optional = {} if section.dimensions is None else {"dimensions": section.dimensions}
        reply = self._connection.client.embeddings.with_raw_response.create(
            model=section.model, input=texts, encoding_format="float", **optional
        )
        vectors = vectors_from(reply.content, len(texts))
        with self._lock:
            if self._dimension is None:
                self._dimension = int(vectors.shape[1])
        if vectors.shape[1] != self._dimension:
            raise Failure(
                f"returned vectors of {vectors.shape[1]} numbers, expected {self._dimension}",
                "set encoder.openai.dimensions to what the model has, or to null",
            )
        return vectors

"""What an encoder is, and the batch plan that every encoder is driven by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from .ids import I64

F32 = npt.NDArray[np.float32]
Role = Literal["query", "document"]


class Encoder(Protocol):
    """Turns texts into vectors. Equal fingerprints promise equal vectors for equal batches."""

    @property
    def dimension(self) -> int:
        """D, the width of a vector."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that shapes a vector: weights, tokenizer, pooling, prompts,
        maximum length, dtype.
        """

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        """Cost of each text in tokens, after truncation; int64 [len(texts)]."""

    def encode_queries(self, texts: Sequence[str]) -> F32:
        """One batch of queries, float32 [len(texts), D]."""

    def encode_documents(self, texts: Sequence[str]) -> F32:
        """One batch of documents, float32 [len(texts), D]."""


def token_budget(given: int | None, device: str) -> int:
    """Padded tokens in one forward pass: those `given`, or what suits the device.

    A processor's caches hold little: 2,048 tokens are encoded up to a fifth faster than 8,192.
    """
    return given if given is not None else 2048 if device.startswith("cpu") else 8192


def plan_batches(lengths: I64, max_tokens: int) -> list[I64]:
    """Cut rows into batches of at most `max_tokens` padded tokens, longest rows first.

    A function of the lengths alone, so a resumed run multiplies the same matrices. Every row is
    in exactly one batch; a row longer than the budget is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[I64] = []
    start = 0
    while start < order.size:
        size = max(1, int(max_tokens // max(int(lengths[order[start]]), 1)))
        batches.append(order[start : start + size])
        start += size
    return batches

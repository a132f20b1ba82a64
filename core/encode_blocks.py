"""Encoding blocks of texts, here or wherever the encoder has workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from .encoder import F32, Encoder, Role, plan_batches
from .encoders.parallel import encode_batches
from .errors import PyriteError

Done = Callable[[int], object]


@runtime_checkable
class BlockEncoder(Protocol):
    """An encoder that has several blocks under way, on other processes or machines."""

    def encode_blocks(
        self, blocks: Iterable[list[str]], count: int, role: Role, max_tokens: int
    ) -> Iterator[tuple[int, F32]]:
        """`(number, vectors)` of each of the `count` blocks, as they are done."""


def encode_blocks(
    encoder: Encoder,
    blocks: Iterable[list[str]],
    count: int,
    role: Role,
    max_tokens: int,
    done: Done = lambda texts: None,
) -> Iterator[tuple[int, F32]]:
    """`(number, vectors float32 [len(block), D])` of each block, in the order that suits `encoder`.

    The batches follow from a block's texts alone, so it does not matter who encodes it. `done` is
    told of texts as they are encoded. Raises PyriteError for vectors of the wrong shape.
    """
    if isinstance(encoder, BlockEncoder):
        for number, vectors in encoder.encode_blocks(blocks, count, role, max_tokens):
            done(len(vectors))
            yield number, vectors
        return
    for number, texts in enumerate(blocks):
        yield number, encode_texts(encoder, texts, role, max_tokens, done)


def encode_texts(
    encoder: Encoder,
    texts: Sequence[str],
    role: Role,
    max_tokens: int,
    done: Done = lambda texts: None,
) -> F32:
    """Vectors of one block, float32 [len(texts), D], in batches of `max_tokens` padded tokens."""
    vectors = np.empty((len(texts), encoder.dimension), dtype=np.float32)
    if not texts:
        return vectors
    planned = plan_batches(encoder.lengths(texts, role), max_tokens)
    batches = ([texts[i] for i in batch] for batch in planned)
    found_in_turn = encode_batches(encoder, batches, role)
    for batch, found in zip(planned, found_in_turn, strict=True):
        if found.shape != (batch.size, encoder.dimension):
            raise PyriteError(
                f"the encoder returned shape {found.shape} for {batch.size} texts; expected"
                f" ({batch.size}, {encoder.dimension})"
            )
        vectors[batch] = found
        done(batch.size)
    return vectors

"""Which documents a partial refresh encodes: a random sample, then those near many borders."""

from __future__ import annotations

import numpy as np

from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import combine, stream
from ..indexes.dense import DenseIndex
from ..indexes.vector_map import F64

_PURPOSE = 11
_QUERIES = 256
# a candidate this many errors from the border is on its side of it
_REACH = 4.0


def random_order(size: int, seed: int, generation: int) -> I64:
    """The numbers below `size` in an order that is a pure hash of seed and generation.

    Each generation draws others, so that no document stays stale for ever.
    """
    noise = combine(stream(seed, generation, _PURPOSE), np.arange(size))
    return np.argsort(noise, kind="stable").astype(np.int64)


def border_weights(index: DenseIndex, queries_QD: F32, depth: int, error: float, width: int) -> F64:
    """How much each document may matter to the top `depth` of the queries, float64 [N].

    A document scores the sum, over the queries, of `exp(-(gap / error)^2 / 2)`, where gap is its
    distance to the score between the ranks `depth` and `depth + 1` and `error` the standard
    deviation of a score's error; `width` candidates of each query are looked at, and what lies over
    four errors from the border counts nothing. Sums are of whole millionths, so no order of
    queries changes them.
    """
    size = len(index)
    total = np.zeros(size, dtype=np.int64)
    width = min(width, size)
    if depth >= width:
        return total.astype(np.float64)
    for start in range(0, len(queries_QD), _QUERIES):
        ids, scores = index.search(queries_QD[start : start + _QUERIES], width)
        border = (scores[:, depth - 1] + scores[:, depth])[:, None] / np.float32(2.0)
        gap = np.abs(scores - border).astype(np.float64) / max(error, 1e-12)
        weight = np.where(gap <= _REACH, np.exp(-0.5 * np.square(gap)), 0.0)
        millionths = np.rint(weight * 1e6).astype(np.int64)
        np.add.at(total, ids.reshape(-1), millionths.reshape(-1))
    return np.asarray(total / 1e6, dtype=np.float64)


def borders(index: DenseIndex, queries_QD: F32, depth: int) -> F64:
    """The score between the ranks `depth` and `depth + 1` of each query, float64 [Q].

    -inf where there are no more than `depth` documents: all of them are in.
    """
    out = np.full(len(queries_QD), -np.inf)
    if len(index) > depth:
        for start in range(0, len(queries_QD), _QUERIES):
            _, scores = index.search(queries_QD[start : start + _QUERIES], depth + 1)
            out[start : start + _QUERIES] = scores[:, -2:].astype(np.float64).mean(axis=1)
    return out

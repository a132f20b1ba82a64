"""How many of the true top k a partial refresh finds, estimated from documents it encoded anyway.

Horvitz & Thompson, "A generalization of sampling without replacement from a finite universe",
JASA 1952: a document drawn with probability p stands for 1 / p documents.
"""

from __future__ import annotations

import numpy as np

from ..core.encoder import F32
from ..indexes.vector_map import F64

_QUERIES = 256
_SCORES = 1 << 22  # of queries and documents at a time
_NEAREST = 8


def estimate_overlap(
    true_HD: F32, guessed_HD: F32, weight: float, queries_QD: F32, borders_Q: F64, depth: int
) -> F64:
    """Estimated share of the true top `depth` in the partial one, for each query, float64 [Q].

    The H documents are a random sample of those that could have been left out, with the vector
    that was encoded and what they would have got if they had been left out; each stands for
    `weight` documents. `borders_Q` are the scores between the partial ranks `depth` and
    `depth + 1`; the true border is taken to differ from it by as much as the scores of the nearest
    tenth of the sample do on average. A document on one side by one vector and on the other by
    the other costs half a place, for as many come in as are driven out. A single query may be below
    0: the mean over queries is what to read. 1 where H is 0.
    """
    out = np.ones(len(queries_QD))
    step = min(_QUERIES, max(1, _SCORES // max(len(true_HD), 1)))
    for start in range(0, len(queries_QD), step):
        part = slice(start, start + step)
        true = queries_QD[part] @ true_HD.T
        guessed = queries_QD[part] @ guessed_HD.T
        border = borders_Q[part, None]
        wrong = (true >= border + _moved(true, guessed)) != (guessed >= border)
        out[part] -= weight * wrong.sum(axis=1) / (2.0 * depth)
    return out


def _moved(true_QH: F32, guessed_QH: F32) -> F64:
    """By how much true scores near a query are higher than guessed ones, float64 [Q, 1]."""
    count = min(true_QH.shape[1], max(_NEAREST, true_QH.shape[1] // 10))
    if not count:
        return np.zeros((len(true_QH), 1))
    # by both scores: what is high by one of them alone is lower by the other
    best = np.argsort(-(true_QH + guessed_QH), axis=1, kind="stable")[:, :count]
    gaps = np.take_along_axis(true_QH, best, axis=1) - np.take_along_axis(guessed_QH, best, axis=1)
    return np.asarray(gaps.mean(axis=1, keepdims=True, dtype=np.float64))

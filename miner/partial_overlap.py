"""How many of the true top k a partial refresh finds, estimated from documents it encoded anyway.

Horvitz & Thompson, "A generalization of sampling without replacement from a finite universe",
JASA 1952: a document drawn with probability p stands for 1 / p documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.encoder import F32
from ..indexes.vector_map import F64

_QUERIES = 64


@dataclass(frozen=True, slots=True)
class Sampled:
    """What is known of a corpus whose documents are partly encoded and partly guessed.

    `exact_ED` are the vectors of what was encoded. `true_HD` and `guessed_HD` are two vectors of
    each document of a random sample of those that could have been left out: the one that was
    encoded, and what it would have got if it had been left out. Each of the H stands for `weight`
    documents that were left out.
    """

    exact_ED: F32
    true_HD: F32
    guessed_HD: F32
    weight: float


def estimate_overlap(sampled: Sampled, queries_QD: F32, depth: int) -> F64:
    """Estimated share of the true top `depth` in the partial one, for each query, float64 [Q].

    Ranks are counted in documents stood for; one at the border belongs to the top in part. With
    nothing guessed it is 1. Single queries are rough, for one sampled document stands for many;
    the mean over queries is what to read.
    """
    if not len(sampled.true_HD):
        return np.ones(len(queries_QD))
    true_ED = np.concatenate([sampled.exact_ED, sampled.true_HD])
    ours_ED = np.concatenate([sampled.exact_ED, sampled.guessed_HD])
    weights_E = np.ones(len(true_ED))
    weights_E[len(sampled.exact_ED) :] = sampled.weight
    out = np.empty(len(queries_QD))
    for start in range(0, len(queries_QD), _QUERIES):
        queries = queries_QD[start : start + _QUERIES]
        true = _shares(queries @ true_ED.T, weights_E, depth)
        ours = _shares(queries @ ours_ED.T, weights_E, depth)
        out[start : start + _QUERIES] = (np.minimum(true, ours) * weights_E).sum(axis=1) / depth
    return out


def _shares(scores_QE: F32, weights_E: F64, depth: int) -> F64:
    """How much of each document is within the best `depth` documents stood for, in [0, 1]."""
    order = np.argsort(-scores_QE, axis=1, kind="stable")
    weights = weights_E[order]
    before = np.cumsum(weights, axis=1) - weights
    shares = np.clip((depth - before) / weights, 0.0, 1.0)
    out = np.empty_like(shares)
    np.put_along_axis(out, order, shares, axis=1)
    return out

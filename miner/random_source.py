"""Random candidates: uniform over the corpus, a pure hash of (seed, generation, query id)."""

from __future__ import annotations

import numpy as np

from ..core.candidates import Candidates
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import U64, combine, stream
from ..indexes.topk import exact_scores, order_rows

_PURPOSE = 1


def random_rows(query_hashes_Q: U64, by_rank_N: I64, depth: int, seed: int, generation: int) -> I64:
    """`depth` distinct corpus rows for each query, int64 [Q, depth].

    `by_rank_N` lists the corpus rows in ascending id order, so the file's order does not matter.
    Hashes are drawn in rounds and repeats are left out; a corpus of at most four times the depth
    is shuffled whole in place of that, so a small corpus cannot loop.
    """
    size = by_rank_N.size
    depth = min(depth, size)
    roots = combine(stream(seed, generation, _PURPOSE), query_hashes_Q)
    if size <= 4 * depth:
        keys = combine(roots[:, None], np.arange(size, dtype=np.uint64)[None, :])
        return by_rank_N[np.argsort(keys, axis=1, kind="stable")[:, :depth]]
    out = np.empty((roots.size, depth), dtype=np.int64)
    for at, root in enumerate(roots):
        out[at] = by_rank_N[_distinct(root, size, depth)]
    return out


def _distinct(root: np.uint64, size: int, depth: int) -> I64:
    # at least three quarters of a hash's targets are still free, so a few rounds are enough
    found = np.empty(0, dtype=np.int64)
    tried = 0
    while found.size < depth:
        counters = np.arange(tried, tried + 2 * depth, dtype=np.uint64)
        drawn = (combine(np.asarray(root), counters) % np.uint64(size)).astype(np.int64)
        found = np.concatenate((found, drawn))
        _, first = np.unique(found, return_index=True)
        found = found[np.sort(first)]
        tried += 2 * depth
    return found[:depth]


def random_candidates(
    query_rows: I64,
    query_hashes_Q: U64,
    vectors_QD: F32,
    corpus: Embeddings,
    rank_N: I64,
    depth: int,
    seed: int,
    generation: int = 0,
) -> Candidates:
    """Random documents as candidates, scored like any others so that every filter applies."""
    by_rank = np.argsort(rank_N, kind="stable").astype(np.int64)
    ids = random_rows(query_hashes_Q, by_rank, depth, seed, generation)
    scores = exact_scores(vectors_QD, corpus, ids)
    ids, scores = order_rows(ids, scores, rank_N, ids.shape[1])
    source = np.zeros(ids.shape, dtype=np.uint8)
    unranked = np.zeros(ids.shape, dtype=np.int32)
    return Candidates(query_rows, ids, scores, source, unranked, ("random",), generation)

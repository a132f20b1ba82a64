"""Queries with one text and several ids: a positive of one is a positive of all."""

from __future__ import annotations

import numpy as np

from ..core.rng import U64
from ..core.tables import Qrels


def share_positives(qrels: Qrels, query_texts_Q: U64) -> Qrels:
    """Judgements in which queries of equal text have each other's positives as well.

    `query_texts_Q` uint64 [Q] are hashes of normalised texts, one a query row. Without equal texts
    the same judgements come back.
    """
    _, groups_Q, sizes = np.unique(query_texts_Q, return_inverse=True, return_counts=True)
    if (sizes == 1).all():
        return qrels
    pair_queries, pair_docs = qrels.pairs()
    counts = sizes[groups_Q[pair_queries]]
    # members of each group side by side: the n-th copy of a pair goes to the n-th member
    members = np.argsort(groups_Q, kind="stable")
    starts = np.cumsum(sizes) - sizes
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    queries = members[np.repeat(starts[groups_Q[pair_queries]], counts) + number]
    docs = np.repeat(pair_docs, counts)
    judged = np.repeat(np.arange(len(qrels)), np.diff(qrels.indptr))
    return Qrels.build(
        np.concatenate((judged, queries)),
        np.concatenate((qrels.docs, docs)),
        np.concatenate((qrels.grades, np.full(docs.size, qrels.min_grade))).astype(np.int64),
        len(qrels),
        qrels.min_grade,
    )

"""SaHa: hard documents whose owner, the query they answer, is unlike the query at hand.

SaHa, arXiv 2508.00955: a document that a similar query owns is likely an answer to this one too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.tables import Qrels
from ..indexes.topk import exact_scores
from .vectors import Vectors

Bool = npt.NDArray[np.bool_]
_BLOCK = 4096


def hard_owners(
    ids_QK: I64, open_QK: Bool, query_rows: I64, qrels: Qrels, vectors: Vectors, pool: int
) -> tuple[I64, F32]:
    """Owner of each candidate, int64 [Q, K], -1 for none, and its similarity to the query.

    Only the first `pool` candidates of each query that are open and have an owner are looked at.
    Owners are the encoded queries, other than the query itself, that have the document as a
    positive; of several the one most similar to the query counts, ties to the lower id. An owner
    stands at its first document only. The similarity float32 [Q, K] is -inf without an owner.
    """
    rows, columns, owners = _owned(ids_QK, open_QK, query_rows, qrels, vectors, pool)
    similarity = _pair_scores(vectors, query_rows[rows], owners)
    # of each document the best owner, then of each owner the first document
    at = rows * ids_QK.shape[1] + columns
    best = _first(np.lexsort((vectors.place[owners], -similarity, at)), at)
    of_row = rows * vectors.place.size + owners
    first = _first(best[np.lexsort((columns[best], of_row[best]))], of_row)
    owner_QK = np.full(ids_QK.shape, PAD_ID, dtype=np.int64)
    similarity_QK = np.full(ids_QK.shape, -np.inf, dtype=np.float32)
    owner_QK[rows[first], columns[first]] = owners[first]
    similarity_QK[rows[first], columns[first]] = similarity[first]
    return owner_QK, similarity_QK


def saha_places(owner_QK: I64, similarity_QK: F32, collect: int) -> I64:
    """Place of each candidate, int64 [Q, K]: 0 is the document of the least similar owner.

    The first `collect` owners in the order of the columns are sorted by similarity, ascending,
    ties to the earlier column; -1 for all others.
    """
    owned = owner_QK != PAD_ID
    kept = owned & (np.cumsum(owned, axis=1) <= collect)
    order = np.argsort(np.where(kept, similarity_QK, np.inf), axis=1, kind="stable")
    places = np.empty(owner_QK.shape, dtype=np.int64)
    np.put_along_axis(places, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), 1)
    return np.where(kept, places, -1)


def _owned(
    ids_QK: I64, open_QK: Bool, query_rows: I64, qrels: Qrels, vectors: Vectors, pool: int
) -> tuple[I64, I64, I64]:
    """Rows, columns and owners of the candidates to look at, each int64 [E]."""
    queries, docs = qrels.pairs()
    known = vectors.place[queries] != PAD_ID
    queries, docs = queries[known], docs[known]
    by_doc = np.argsort(docs, kind="stable")
    queries, docs = queries[by_doc], docs[by_doc]
    starts = np.searchsorted(docs, ids_QK, side="left")
    counts = np.searchsorted(docs, ids_QK, side="right") - starts
    # a document that is the query's own only has no other owner
    own = np.asarray(qrels.is_positive(query_rows, ids_QK), dtype=np.int64)
    owned = open_QK & (ids_QK != PAD_ID) & (counts - own > 0)
    rows, columns = np.nonzero(owned & (np.cumsum(owned, axis=1) <= pool))
    start, count = starts[rows, columns], counts[rows, columns]
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    owners = queries[np.repeat(start, count) + within]
    rows, columns = np.repeat(rows, count), np.repeat(columns, count)
    other = owners != query_rows[rows]
    return rows[other], columns[other], owners[other]


def _pair_scores(vectors: Vectors, left_E: I64, right_E: I64) -> F32:
    """Similarity of pairs of queries, float32 [E], correctly rounded."""
    out = np.empty(left_E.size, dtype=np.float32)
    for start in range(0, left_E.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        table: Embeddings = vectors.queries
        right = vectors.place[right_E[part], None]
        out[part] = exact_scores(vectors.of_queries(left_E[part]), table, right)[:, 0]
    return out


def _first(order: I64, groups: I64) -> I64:
    """The first of each run of equal `groups` along `order`."""
    ordered = groups[order]
    starts = np.ones(order.size, dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return order[starts]

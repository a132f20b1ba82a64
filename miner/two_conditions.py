"""The two-condition rule: nearer to the query than its positive is, and than to that positive.

Enterprise hard negative mining, arXiv 2505.18366. There the vectors of several encoders are joined
and reduced by PCA; here they are the run's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID, Candidates
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.run import Prepared
from ..indexes.topk import exact_scores
from .positives import score_positives

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Triangles:
    """What the rule needs besides the candidates; the arrays are over the rows of the query table.

    `positive` int64 is the corpus row of the positive that counts, -1 without one; `norm` float64
    is the length of the query's vector, 0 where it was not encoded.
    """

    corpus: Embeddings
    positive: I64
    norm: F64

    def with_positives(self, query_rows: I64, docs: I64) -> Triangles:
        """The same with `docs` as the positives of `query_rows`."""
        positive = self.positive.copy()
        positive[query_rows] = docs
        return replace(self, positive=positive)


def triangles_of(prepared: Prepared, how: str) -> Triangles:
    """Pick each query's positive: the lowest score for `min`, the highest for `max`.

    Equal scores are settled by document id. Raises ValueError for `mean`, which picks none.
    """
    if how not in ("min", "max"):
        raise ValueError(f"positive_score={how} picks no document")
    rows, total = prepared.queries.rows, len(prepared.dataset.queries)
    found = score_positives(prepared, how)
    docs = np.concatenate([prepared.qrels.positives(int(row)) for row in rows])
    owner = np.repeat(np.arange(rows.size), np.diff(found.starts))
    keys = found.pairs if how == "min" else -found.pairs
    order = np.lexsort((prepared.dataset.corpus.ids.rank_N[docs], keys, owner))
    positive = np.full(total, PAD_ID, dtype=np.int64)
    positive[rows] = docs[order[found.starts[:-1]]]
    norm = np.zeros(total, dtype=np.float64)
    norm[rows] = lengths(prepared.queries.embeddings, np.arange(rows.size))
    return Triangles(prepared.corpus, positive, norm)


def lengths(vectors: Embeddings, rows: I64) -> F64:
    """Lengths of some vectors, float64 [rows], from their correctly rounded squares."""
    squares = np.empty(rows.size, dtype=np.float64)
    for start in range(0, rows.size, _BLOCK):
        part = rows[start : start + _BLOCK]
        squares[start : start + _BLOCK] = exact_scores(vectors.take(part), vectors, part[:, None])[
            :, 0
        ]
    return np.sqrt(squares)


def meets_two_conditions(candidates: Candidates, pos_scores_Q: F32, triangles: Triangles) -> Bool:
    """Where `dist(q, d) < dist(q, p)` and `dist(q, d) < dist(p, d)`, bool [Q, K].

    `dist` is 1 - cosine, compared as float32; equal distances do not meet the rule, nor do vectors
    of length 0, which have no angle, nor padding. The scores are inner products of the vectors,
    `pos_scores_Q` those of the positives that `triangles` names; every query must have one.
    """
    docs = triangles.positive[candidates.query_rows]
    if (docs == PAD_ID).any():
        raise ValueError("a query has no positive to compare with")
    ids = candidates.ids
    unique, inverse = np.unique(np.maximum(ids, 0), return_inverse=True)
    doc = lengths(triangles.corpus, unique)[inverse.reshape(ids.shape)]
    pos = lengths(triangles.corpus, docs)[:, None]
    query = triangles.norm[candidates.query_rows][:, None]
    between = exact_scores(triangles.corpus.take(docs), triangles.corpus, ids)
    to_query = _cosine(candidates.scores, query * doc)
    nearer = to_query > _cosine(pos_scores_Q[:, None], query * pos)
    return np.asarray(nearer & (to_query > _cosine(between, pos * doc)) & (ids != PAD_ID))


def _cosine(products: F32, scale: F64) -> F32:
    # NaN is neither above nor below anything, so a length of 0 meets no condition
    scale = np.where(scale > 0, scale, np.nan)
    return (products.astype(np.float64) / scale).astype(np.float32)

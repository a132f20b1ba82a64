"""The total order of results, and scores that do not depend on how a search was cut up.

Matrix products round differently by shape, so a search only proposes. The proposed documents are
scored again here, one dot product at a time in float64, rounded once to float32.
"""

from __future__ import annotations

import numpy as np

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64

RESCORE_BYTES = 64 << 20


def order_rows(ids_BK: I64, scores_BK: F32, rank_N: I64, k: int) -> tuple[I64, F32]:
    """The best `k` of each row by (score descending, document id ascending); -1 sorts last.

    `rank_N` [N] is each corpus row's place in ascending id order. Rows short of `k` are padded
    with -1 and -inf.
    """
    pad = ids_BK < 0
    scores = np.where(pad, np.float32(-np.inf), scores_BK).astype(np.float32)
    ties = np.where(pad, np.iinfo(np.int64).max, rank_N[np.maximum(ids_BK, 0)])
    order = np.lexsort((ties, -scores), axis=-1)[:, :k]
    ids = np.take_along_axis(np.where(pad, -1, ids_BK), order, axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    short = k - ids.shape[1]
    if short > 0:
        ids = np.pad(ids, ((0, 0), (0, short)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
    return ids, scores


def exact_scores(queries_BD: F32, corpus: Embeddings, ids_BK: I64) -> F32:
    """Inner products of each query with its documents, float32 [B, K]; -inf where the id is -1.

    Products of two float32 are exact in float64 and are summed in one fixed order, so the result
    is the same for every batch size and thread count.
    """
    out = np.full(ids_BK.shape, -np.inf, dtype=np.float32)
    per_score = queries_BD.shape[1] * 20
    columns = max(1, min(ids_BK.shape[1], RESCORE_BYTES // per_score))
    rows = max(1, RESCORE_BYTES // (per_score * columns))
    for top in range(0, ids_BK.shape[0], rows):
        queries = queries_BD[top : top + rows, None, :].astype(np.float64)
        for left in range(0, ids_BK.shape[1], columns):
            ids = ids_BK[top : top + rows, left : left + columns]
            docs_BKD = corpus.take(np.maximum(ids, 0)).astype(np.float64)
            docs_BKD *= queries
            scores = docs_BKD.sum(axis=-1).astype(np.float32)
            scores[ids < 0] = -np.inf
            out[top : top + rows, left : left + columns] = scores
    return out

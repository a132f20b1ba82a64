"""The total order of results, and scores that do not depend on how a search was cut up.

Matrix products round differently by shape, so a search only proposes. The proposed documents are
scored again here, and the scores are the correctly rounded ones.
"""

from __future__ import annotations

import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64

RESCORE_BYTES = 8 << 20  # small enough for the processor cache
_ROWS = 16
_THREADS = min(4, os.cpu_count() or 1)


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


def exact_scores(
    queries_BD: F32, corpus: Embeddings, ids_BK: I64, largest: float | None = None
) -> F32:
    """Correctly rounded inner products, float32 [B, K]; -inf where the id is -1.

    A product of two float32 is exact in float64. The float64 sum is wrong by at most
    `(D + 2) * 2^-53 * |q| * |d|`; where that could change the float32 it rounds to, the products
    are summed exactly. So a score is a property of the two vectors: no batch size, thread count,
    library or processor changes it. `largest` is a bound on all |d|, where it is known.
    """
    out = np.full(ids_BK.shape, -np.inf, dtype=np.float32)
    per_score = queries_BD.shape[1] * 16
    columns = max(1, min(ids_BK.shape[1], RESCORE_BYTES // (per_score * _THREADS)))
    rows = max(1, min(_ROWS, RESCORE_BYTES // (per_score * _THREADS * columns)))

    def score(part: list[tuple[int, int]]) -> None:
        # allocated once: fresh memory costs more than the arithmetic
        scratch = np.empty(rows * columns * queries_BD.shape[1])
        for top, left in part:
            ids = ids_BK[top : top + rows, left : left + columns]
            docs = corpus.take(np.maximum(ids, 0))
            scores = _rounded_products(queries_BD[top : top + rows], docs, scratch, largest)
            scores[ids < 0] = -np.inf
            out[top : top + rows, left : left + columns] = scores

    across = range(0, ids_BK.shape[1], columns)
    corners = list(itertools.product(range(0, ids_BK.shape[0], rows), across))
    with ThreadPoolExecutor(_THREADS) as pool:
        # consumed, so that an error in a thread is raised here
        list(pool.map(score, [corners[first::_THREADS] for first in range(_THREADS)]))
    return out


def _rounded_products(
    queries_BD: F32, docs_BKD: F32, scratch: npt.NDArray[np.float64], largest: float | None
) -> F32:
    queries = queries_BD.astype(np.float64)
    docs = scratch[: docs_BKD.size].reshape(docs_BKD.shape)
    docs[:] = docs_BKD
    sums = np.matmul(docs, queries[:, :, None])[:, :, 0]
    if largest is None:
        largest = float(np.sqrt(np.einsum("bkd,bkd->bk", docs, docs).max(initial=0.0)))
    # a little over the bound: the norms are rounded themselves
    error = 1.01 * (queries.shape[1] + 2) * 2.0**-53 * np.linalg.norm(queries, axis=1) * largest
    low, high = sums - error[:, None], sums + error[:, None]
    rounded = sums.astype(np.float32)
    for row, column in np.argwhere(low.astype(np.float32) != high.astype(np.float32)):
        rounded[row, column] = math.fsum(docs[row, column] * queries[row])
    # one zero only: -0 and 0 are the same score
    return np.asarray(rounded + np.float32(0.0), dtype=np.float32)

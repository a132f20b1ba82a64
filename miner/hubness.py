"""A cap on how often one document is a negative over the whole run.

A document in the neighbourhood of many queries (a hub) would otherwise be pushed away thousands of
times. Which queries keep it is a stable matching in which queries propose (Gale and Shapley,
"College admissions and the stability of marriage", 1962): the result is unique, so no order of
queries or blocks changes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.rng import U64, combine, stream

_PURPOSE = 3


@dataclass(frozen=True, slots=True)
class Capped:
    """Draws that are left under the cap.

    `columns` int64 [Q, n]: their places in the draws, ascending, -1 where a query runs short;
    `ids` int64 [Q, n]: their documents. Of the first n draws, `dropped` were over the cap;
    `replaced` of those had a spare that was not. The others are missing, not filled in.
    """

    ids: I64
    columns: I64
    dropped: int
    replaced: int

    @property
    def missing(self) -> int:
        """Negatives lost for want of a spare under the cap."""
        return self.dropped - self.replaced


def cap_uses(
    draws_QM: I64, n: int, cap: int, query_hashes_Q: U64, doc_hashes_N: U64, seed: int
) -> Capped:
    """The first `n` draws of each query with no document used over `cap` times.

    `draws_QM` int64 [Q, M] are rows of the corpus in draw order, no document twice in a row, -1
    for none; columns from n on are spares, which replace draws but never add to them: a query that
    is short before the cap stays short. Rows are in ascending query-id order. A document over
    the cap keeps draws before spares and, among equals, the smallest hash of (seed, query id,
    document id). Each dropped draw passes its query's turn on to the next spare. Raises
    PyriteError if n or cap is below 1.
    """
    if n < 1 or cap < 1:
        raise PyriteError(f"hubness: n={n} and cap={cap} must be at least 1")
    query, column = np.nonzero(draws_QM != PAD_ID)
    docs = draws_QM[query, column]
    root = combine(stream(seed, 0, _PURPOSE), query_hashes_Q)
    prefer = np.lexsort((query, combine(root[query], doc_hashes_N[docs]), column >= n, docs))
    query_by, column_by, docs_by = query[prefer], column[prefer], docs[prefer]
    left = draws_QM != PAD_ID
    wanted = left[:, :n].sum(axis=1, keepdims=True)
    while True:
        active = left & (np.cumsum(left, axis=1) <= wanted)
        over = _beyond(docs_by, active[query_by, column_by], cap)
        if not over.any():
            break
        left[query_by[over], column_by[over]] = False
    columns = _first(active, n)
    ids = np.take_along_axis(draws_QM, np.maximum(columns, 0), axis=1)
    return Capped(
        ids=np.where(columns < 0, PAD_ID, ids),
        columns=columns,
        dropped=int((draws_QM[:, :n] != PAD_ID).sum() - active[:, :n].sum()),
        replaced=int(active[:, n:].sum()),
    )


def _beyond(docs_P: I64, active_P: npt.NDArray[np.bool_], cap: int) -> npt.NDArray[np.bool_]:
    """Active entries after the first `cap` active ones of their document; `docs_P` is sorted."""
    total = np.cumsum(active_P)
    starts = np.searchsorted(docs_P, docs_P)
    return np.asarray(active_P & (total - (total - active_P)[starts] > cap))


def _first(marks_QM: npt.NDArray[np.bool_], n: int) -> I64:
    """Columns of the marks of each row, at most `n`, ascending, padded with -1: int64 [Q, n]."""
    order = np.argsort(~marks_QM, axis=1, kind="stable")[:, :n]
    columns = np.where(np.take_along_axis(marks_QM, order, axis=1), order, -1)
    return np.pad(columns, ((0, 0), (0, n - columns.shape[1])), constant_values=-1)


def most_used(ids_Qn: I64, rank_N: I64, top: int) -> tuple[I64, I64]:
    """The `top` most used documents and how often, int64 each; ties by document id."""
    ids, counts = np.unique(ids_Qn[ids_Qn != PAD_ID], return_counts=True)
    order = np.lexsort((rank_N[ids], -counts))[:top]
    return ids[order], counts[order].astype(np.int64)


def most_counted(counts_N: I64, rank_N: I64, top: int) -> tuple[I64, I64]:
    """The same from the uses of each document of the corpus, int64 [N]."""
    ids = np.flatnonzero(counts_N)
    order = np.lexsort((rank_N[ids], -counts_N[ids]))[:top]
    return ids[order], counts_N[ids[order]]

"""How far one generation of negatives, or one ranking, is from another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID
from ..core.encoder import F32
from ..core.ids import I64
from ..miner.negatives_file import ScoredRows
from .pool import Asked


@dataclass(frozen=True, slots=True)
class QueryMean:
    """A mean over `queries`; `left_out` ones had nothing to measure. None where all are."""

    value: float | None
    queries: int
    left_out: int

    @classmethod
    def of(cls, parts_Q: I64, wholes_Q: I64) -> QueryMean:
        """The mean of parts / wholes over the queries whose whole is not 0."""
        counted = wholes_Q > 0
        shares = parts_Q[counted] / wholes_Q[counted]
        value = float(shares.mean()) if shares.size else None
        return cls(value, int(shares.size), int(counted.size - shares.size))


def churn(before_QK: I64, after_QJ: I64) -> QueryMean:
    """Mean share of a query's negatives that it did not have before.

    int64 [Q, K] and [Q, J] in any order, -1 padded, each id once a row. Left out: queries without
    negatives in `after`. Raises ValueError if the numbers of queries differ.
    """
    _check(before_QK, after_QJ)
    kept_Q = _found(after_QJ, before_QK).sum(axis=1)
    there_Q = (after_QJ != PAD_ID).sum(axis=1)
    return QueryMean.of(there_Q - kept_Q, there_Q)


def overlap(a_QK: I64, b_QJ: I64, k: int) -> QueryMean:
    """Mean of |top-k of a and of b| / k over rankings, best first.

    int64 [Q, K] and [Q, J], -1 padded, each id once a row. Where both have fewer than `k` the
    longer one's length stands for `k`, so that equal rankings have 1. Left out: queries without
    any. Raises ValueError if the numbers of queries differ or a ranking is narrower than `k`.
    """
    _check(a_QK, b_QJ)
    if not 1 <= k <= min(a_QK.shape[1], b_QJ.shape[1]):
        raise ValueError(f"k={k} for rankings of {a_QK.shape[1]} and {b_QJ.shape[1]}")
    a_Qk, b_Qk = a_QK[:, :k], b_QJ[:, :k]
    longer_Q = np.maximum((a_Qk != PAD_ID).sum(axis=1), (b_Qk != PAD_ID).sum(axis=1))
    return QueryMean.of(_found(a_Qk, b_Qk).sum(axis=1), longer_Q)


def churn_of(before: ScoredRows, after: ScoredRows) -> QueryMean:
    """`churn` of two generations by query, or by query and positive; a row not `before` is new."""
    at = Asked.of(before).find(Asked.of(after))
    rows = np.full((at.size, before.ids.shape[1]), PAD_ID, dtype=np.int64)
    rows[at >= 0] = before.ids[at[at >= 0]]
    return churn(rows, after.ids)


def above_share(scores_QK: F32, ids_QK: I64, pos_scores_P: F32) -> float | None:
    """Mean over the negatives of the share of all positives that score at most as high.

    `scores_QK` float32 and `ids_QK` int64, -1 padded; `pos_scores_P` float32. The proxy of
    `pyrite suggest`; None without negatives or positives.
    """
    scores = scores_QK[ids_QK != PAD_ID]
    if not scores.size or not pos_scores_P.size:
        return None
    below = np.searchsorted(np.sort(pos_scores_P), scores, side="right")
    return float(below.sum() / (scores.size * pos_scores_P.size))


def _found(ids_QK: I64, in_QJ: I64) -> npt.NDArray[np.bool_]:
    """Which ids stand in the same row of the other array; padding does not."""
    span = 1 + max(int(ids.max(initial=0)) for ids in (ids_QK, in_QJ))
    rows = np.arange(ids_QK.shape[0], dtype=np.int64)[:, None] * span
    found = np.isin(ids_QK + rows, (in_QJ + rows)[in_QJ != PAD_ID])
    return np.asarray(found & (ids_QK != PAD_ID))


def _check(a_QK: I64, b_QJ: I64) -> None:
    if a_QK.shape[0] != b_QJ.shape[0]:
        raise ValueError(f"{a_QK.shape[0]} and {b_QJ.shape[0]} queries")

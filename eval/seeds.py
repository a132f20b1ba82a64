"""Training seeds as a source of variance beside the queries."""

from __future__ import annotations

import numpy as np

from ..core.ids import I64
from .measures import F64
from .paired_tests import weights

RESAMPLES = 10_000
_BLOCK_CELLS = 2_000_000


def spread(values_SQ: F64, strata_Q: I64 | None = None) -> float | None:
    """Standard deviation (n - 1) of the seeds' means [S, Q]; None for one seed."""
    if len(values_SQ) < 2:
        return None
    means = values_SQ @ weights(values_SQ.shape[1], strata_Q)
    return float(np.std(means, ddof=1))


def two_level_interval(
    a_SQ: F64, b_SQ: F64, seed: int = 0, strata_Q: I64 | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval, 95%, of mean(a) - mean(b) over queries and seeds.

    Each of 10,000 resamples draws queries (the same for both systems, within their stratum), the
    seeds of `a` [S, Q], and independently those of `b`, which may have another number of seeds. A
    system with one seed brings no variance of its own. (nan, nan) for one query, or if neither has
    two seeds. With few seeds it is too narrow: resampling S seeds shows (S - 1) / S of their
    variance.
    """
    size = a_SQ.shape[1]
    if size < 2 or max(len(a_SQ), len(b_SQ)) < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    weight_Q = weights(size, strata_Q)
    members = _members(size, strata_Q)
    step = max(1, _BLOCK_CELLS // (size * max(len(a_SQ), len(b_SQ))))
    found = []
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        drawn = [m[generator.integers(0, m.size, (count, m.size))] for m in members]
        queries = np.concatenate(drawn, axis=1)
        counted = weight_Q[queries]
        a, b = (_drawn_means(values, queries, counted, generator) for values in (a_SQ, b_SQ))
        found.append(a - b)
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    return float(low), float(high)


def _members(size: int, strata_Q: I64 | None) -> list[I64]:
    if strata_Q is None:
        return [np.arange(size)]
    return [np.flatnonzero(strata_Q == one) for one in np.unique(strata_Q)]


def _drawn_means(
    values_SQ: F64, queries_RQ: I64, weights_RQ: F64, generator: np.random.Generator
) -> F64:
    """Mean over resampled queries and seeds for each resample, float64 [R]."""
    seeds = len(values_SQ)
    picked = generator.integers(0, seeds, (len(queries_RQ), seeds))
    means_SR = np.stack([(row[queries_RQ] * weights_RQ).sum(axis=1) for row in values_SQ])
    return np.asarray(np.take_along_axis(means_SR.T, picked, axis=1).mean(axis=1))

"""Paired comparison of two systems over the same queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .measures import F64

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean of a - b over queries with its 95% bootstrap interval."""

    a: str
    b: str
    measure: str
    difference: float
    ci95: tuple[float, float]
    queries: int


def paired_interval(difference_Q: F64, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval, 95%, of the mean of per-query differences.

    Queries are resampled 10,000 times with a generator made from `seed`. One query has no
    interval: (nan, nan).
    """
    if difference_Q.size < 2:
        return float("nan"), float("nan")
    result = stats.bootstrap(
        (difference_Q,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // difference_Q.size),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def compare(a: str, b: str, measure: str, a_Q: F64, b_Q: F64, seed: int = 0) -> Comparison:
    """Compare two systems' values of one measure, aligned by query."""
    difference = a_Q - b_Q
    interval = paired_interval(difference, seed)
    return Comparison(a, b, measure, float(difference.mean()), interval, int(difference.size))

"""Paired comparison of systems over the same queries: which differences are significant."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from ..core.ids import I64
from .measures import F64
from .paired_tests import holm, paired_t, randomisation_p, weights
from .seeds import two_level_interval

RESAMPLES = 10_000
ALPHA = 0.05
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean of a - b over queries with its 95% bootstrap interval and its p values.

    `p` is that of sign flips, `p_t` Student's, for reference, and `p_holm` is `p` corrected for all
    comparisons of the same measure. `ci95_seeds` resamples training seeds too, where there are
    several. One query has no interval and no p: nan.
    """

    a: str
    b: str
    measure: str
    difference: float
    ci95: tuple[float, float]
    queries: int
    p: float = _NAN
    p_t: float = _NAN
    p_holm: float = _NAN
    ci95_seeds: tuple[float, float] | None = None

    @property
    def significant(self) -> bool:
        """Holm's p is at most 0.05 and, with several seeds, their interval leaves out 0."""
        low, high = self.ci95_seeds or (_NAN, _NAN)
        return self.p_holm <= ALPHA and not low <= 0 <= high

    def as_json(self) -> dict[str, Any]:
        """A JSON value; JSON has no nan, so what there is not is None."""
        known = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }
        for name in ("ci95", "ci95_seeds"):
            ends = known[name]
            known[name] = None if ends is None or math.isnan(ends[0]) else list(ends)
        return {**known, "significant": self.significant}


def paired_interval(
    difference_Q: F64, seed: int = 0, strata_Q: I64 | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval, 95%, of the mean of per-query differences.

    Queries are resampled 10,000 times with a generator made from `seed`. With `strata_Q` int64 [Q],
    the sub-forums of CQADupStack, it is the interval of the mean of the strata's means, each
    resampled in itself. One query, or a stratum of one query, has no interval: (nan, nan).
    """
    parts = _parts(difference_Q, strata_Q)
    if min(part.size for part in parts) < 2:
        return _NAN, _NAN

    def mean_of_means(*samples: F64, axis: int) -> F64:
        return np.asarray(np.mean([np.mean(s, axis=axis) for s in samples], axis=0))

    result = stats.bootstrap(
        parts,
        np.mean if strata_Q is None else mean_of_means,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // difference_Q.size),
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _parts(difference_Q: F64, strata_Q: I64 | None) -> tuple[F64, ...]:
    if strata_Q is None or not difference_Q.size:
        return (difference_Q,)
    return tuple(difference_Q[strata_Q == one] for one in np.unique(strata_Q))


def compare(
    a: str,
    b: str,
    measure: str,
    a_Q: F64,
    b_Q: F64,
    seed: int = 0,
    strata_Q: I64 | None = None,
) -> Comparison:
    """Compare two systems' values of one measure, aligned by query.

    float64 [Q], or [S, Q] with a row for each training seed: a query's seeds are no independent
    observations, so p and `ci95` are of its mean over them. Alone it is its own family:
    `p_holm` is `p`.
    """
    a_SQ, b_SQ = np.atleast_2d(a_Q), np.atleast_2d(b_Q)
    difference = a_SQ.mean(axis=0) - b_SQ.mean(axis=0)
    mean = (
        difference.mean() if strata_Q is None else difference @ weights(difference.size, strata_Q)
    )
    p = randomisation_p(difference, seed, strata_Q)
    several = max(len(a_SQ), len(b_SQ)) > 1
    return Comparison(
        a,
        b,
        measure,
        float(mean),
        paired_interval(difference, seed, strata_Q),
        int(difference.size),
        p,
        paired_t(difference) if strata_Q is None else _NAN,
        p,
        two_level_interval(a_SQ, b_SQ, seed, strata_Q) if several else None,
    )


def compare_all(
    systems: Mapping[str, Mapping[str, F64]],
    seed: int = 0,
    strata_Q: I64 | None = None,
    against: str | None = None,
) -> list[Comparison]:
    """Every later system minus every earlier one, in all measures, with Holm's correction.

    `systems` maps names to values of each measure, [Q] or [S, Q]. `against` leaves the differences
    from one system only: fewer tests, less correction.
    """
    if against is None:
        pairs = [(a, b) for b, a in itertools.combinations(systems, 2)]
    else:
        pairs = [(a, against) for a in systems if a != against]
    return with_holm(
        [
            compare(a, b, measure, systems[a][measure], systems[b][measure], seed, strata_Q)
            for a, b in pairs
            for measure in systems[a]
        ]
    )


def with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same with `p_holm`: the comparisons of one measure are one family."""
    families: dict[str, list[int]] = {}
    for at, one in enumerate(comparisons):
        families.setdefault(one.measure, []).append(at)
    out = list(comparisons)
    for places in families.values():
        adjusted = holm([comparisons[at].p for at in places])
        for at, p in zip(places, adjusted.tolist(), strict=True):
            out[at] = replace(comparisons[at], p_holm=p)
    return out

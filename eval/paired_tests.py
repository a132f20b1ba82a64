"""Tests of paired differences, and Holm's correction for several of them.

Sign-flip randomisation: Smucker, Allan, Carterette, "A comparison of statistical significance tests
for information retrieval evaluation", CIKM 2007. Holm, "A simple sequentially rejective multiple
test procedure", Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..core.ids import I64
from .measures import F64

FLIPS = 10_000
# 2**13 sign patterns are fewer than FLIPS
_ALL_PATTERNS = 13
_BLOCK_CELLS = 2_000_000
# sums of the same numbers in another order differ by less than this share of their size
_ROUNDING = 1e-12


def weights(size: int, strata_Q: I64 | None = None) -> F64:
    """What each query counts in the mean, float64 [Q]; they add up to 1.

    With `strata_Q` int64 [Q] the mean is that of the strata's means, whatever their sizes.
    """
    if strata_Q is None:
        return np.full(size, 1 / max(size, 1))
    _, of, counts = np.unique(strata_Q, return_inverse=True, return_counts=True)
    return np.asarray(1 / (counts[of] * counts.size), dtype=np.float64)


def randomisation_p(difference_Q: F64, seed: int = 0, strata_Q: I64 | None = None) -> float:
    """Two-sided p of per-query differences [Q] whose signs are equally likely to be + and -.

    The share of sign patterns whose mean is at least as far from 0 as the one that was seen: of all
    patterns if at most 13 differences are not 0, else (1 + found) / (1 + 10,000) of random ones
    made from `seed`. In (0, 1]; one query has none: nan. Swapping the systems changes nothing.
    """
    if difference_Q.size < 2:
        return float("nan")
    parts = difference_Q * weights(difference_Q.size, strata_Q)
    parts = parts[parts != 0]
    total = parts.sum()
    limit = abs(total) - _ROUNDING * np.abs(parts).sum()
    every = parts.size <= _ALL_PATTERNS
    found = sum(
        int((np.abs(2 * (kept @ parts) - total) >= limit).sum())
        for kept in (_patterns(parts.size) if every else _random(parts.size, seed))
    )
    return found / 2**parts.size if every else (1 + found) / (1 + FLIPS)


def _patterns(size: int) -> Iterator[F64]:
    yield (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(np.float64)


def _random(size: int, seed: int) -> Iterator[F64]:
    """1 where a sign stays, in blocks [., size] of bounded memory."""
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK_CELLS // size)
    for start in range(0, FLIPS, step):
        bits = generator.bytes(min(step, FLIPS - start) * -(-size // 8))
        rows = np.frombuffer(bits, dtype=np.uint8).reshape(-1, -(-size // 8))
        yield np.unpackbits(rows, axis=1, count=size).astype(np.float64)


def paired_t(difference_Q: F64) -> float:
    """Two-sided p of Student's paired t-test, for reference; nan for one query.

    Differences that are all equal have no spread: 1 if they are 0, else 0.
    """
    if difference_Q.size < 2:
        return float("nan")
    if np.ptp(difference_Q) == 0:
        return 0.0 if difference_Q[0] else 1.0
    return float(stats.ttest_1samp(difference_Q, 0.0).pvalue)


def holm(p_M: Sequence[float] | npt.NDArray[np.float64]) -> F64:
    """Holm's adjusted p values, float64 [M]: `<= alpha` where the family's error is at most alpha.

    The i-th smallest is the largest of (M - j + 1) * p_j over j <= i, at most 1. nan is no test and
    stays nan.
    """
    p = np.asarray(p_M, dtype=np.float64)
    out = np.full(p.size, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return out

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.eval.measures import F64
from pyrite.eval.seeds import RESAMPLES, spread, two_level_interval
from pyrite.eval.significance import compare, paired_interval


def values(seed: int, seeds: int, queries: int, mean: float, between: float) -> F64:
    """Queries of different difficulty; each seed shifts them all by its own amount."""
    generator = np.random.default_rng(seed)
    shifts = generator.normal(mean, between, (seeds, 1))
    return np.asarray(shifts + generator.normal(0, 0.2, (seeds, queries)))


def test_the_interval_is_that_of_resampled_queries_and_seeds() -> None:
    a, b = values(1, 3, 40, 0.5, 0.05), values(2, 2, 40, 0.4, 0.05)
    generator = np.random.default_rng(77)
    means = []
    for _ in range(6000):
        queries = generator.integers(0, 40, 40)
        of_a, of_b = generator.integers(0, 3, 3), generator.integers(0, 2, 2)
        means.append(a[np.ix_(of_a, queries)].mean() - b[np.ix_(of_b, queries)].mean())
    wanted = np.percentile(means, [2.5, 97.5])
    assert two_level_interval(a, b) == pytest.approx(wanted, abs=0.006)
    assert RESAMPLES == 10_000


def test_strata_are_resampled_in_themselves() -> None:
    generator = np.random.default_rng(4)
    a = np.concatenate([generator.normal(m, 0.05, (2, n)) for m, n in ((0.9, 5), (0.1, 50))], 1)
    strata = np.repeat([1, 0], [5, 50])
    low, high = two_level_interval(a, np.zeros((1, 55)), strata_Q=strata)
    assert 0.45 < low < 0.5 < high < 0.55


@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(2, 12))
def test_equal_seeds_bring_no_variance(seed: int, seeds: int, queries: int) -> None:
    generator = np.random.default_rng(seed)
    row = generator.uniform(0, 1, queries)
    a = np.tile(row, (seeds, 1))
    low, high = two_level_interval(a, np.zeros((1, queries)), seed)
    assert row.min() - 1e-12 <= low <= high <= row.max() + 1e-12
    # the same queries' variance alone, up to the error of two bootstraps
    plain = paired_interval(row, seed)
    assert (low, high) == pytest.approx(plain, abs=0.1 * np.ptp(row) + 1e-12)
    assert two_level_interval(a, a, seed) == pytest.approx((0, 0), abs=1e-12)


@given(st.integers(0, 2**32))
def test_the_same_seed_reproduces(seed: int) -> None:
    a, b = values(seed, 3, 10, 0.5, 0.1), values(seed + 1, 2, 10, 0.4, 0.1)
    assert two_level_interval(a, b, seed) == two_level_interval(a.copy(), b, seed)


def test_the_seeds_widen_the_interval_of_the_queries() -> None:
    a, b = values(5, 5, 200, 0.5, 0.1), values(6, 5, 200, 0.5, 0.1)
    found = compare("a", "b", "ndcg@10", a, b)
    assert found.ci95_seeds is not None
    assert np.ptp(found.ci95_seeds) > 2 * np.ptp(found.ci95)
    assert found.ci95_seeds[0] < found.difference < found.ci95_seeds[1]
    assert found.queries == 200


def test_queries_are_tested_on_their_mean_over_seeds() -> None:
    a, b = values(7, 3, 60, 0.5, 0.02), values(8, 2, 60, 0.45, 0.02)
    found = compare("a", "b", "ndcg@10", a, b, seed=3)
    alone = compare("a", "b", "ndcg@10", a.mean(axis=0), b.mean(axis=0), seed=3)
    assert (found.difference, found.ci95, found.p) == (alone.difference, alone.ci95, alone.p)
    assert alone.ci95_seeds is None


def test_what_has_no_interval_has_none() -> None:
    for a, b in ((np.ones((1, 9)), np.ones((1, 9))), (np.ones((3, 1)), np.ones((3, 1)))):
        low, high = two_level_interval(a, b)
        assert math.isnan(low)
        assert math.isnan(high)


def test_blocks_have_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = values(9, 3, 50, 0.5, 0.05), values(10, 3, 50, 0.4, 0.05)
    whole = two_level_interval(a, b)
    monkeypatch.setattr("pyrite.eval.seeds._BLOCK_CELLS", 5000)
    # blocks draw in another order, so the intervals agree as two bootstraps do
    assert two_level_interval(a, b) == pytest.approx(whole, abs=0.005)


def test_the_spread_is_that_of_the_seeds_means() -> None:
    rows = np.array([[0.2, 0.4], [0.4, 0.8], [0.6, 0.9]])
    assert spread(rows) == pytest.approx(np.std([0.3, 0.6, 0.75], ddof=1))
    assert spread(rows[:1]) is None
    strata = np.array([0, 0, 1])
    rows = np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 0.5]])
    assert spread(rows, strata) == pytest.approx(np.std([0.5, 0.75], ddof=1))

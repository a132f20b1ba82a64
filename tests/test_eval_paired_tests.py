from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pyrite.eval.measures import F64
from pyrite.eval.paired_tests import FLIPS, holm, paired_t, randomisation_p, weights

# whole numbers, so that sums are exact and ties between sign patterns are real
WHOLE = st.lists(st.integers(-4, 4), min_size=2, max_size=9)
P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=8)


def normal(seed: int, n: int, mean: float) -> F64:
    return np.random.default_rng(seed).normal(mean, 1.0, n)


def p_of_all_patterns(difference: list[int], strata: list[int] | None = None) -> float:
    """Every sign pattern, one after the other, in whole numbers."""
    strata = strata or [0] * len(difference)
    sizes = [strata.count(one) for one in strata]
    scaled = [d * math.lcm(*sizes) // n for d, n in zip(difference, sizes, strict=True)]
    seen = abs(sum(scaled))
    patterns = list(itertools.product((1, -1), repeat=len(scaled)))
    found = [abs(sum(s * d for s, d in zip(p, scaled, strict=True))) >= seen for p in patterns]
    return sum(found) / len(patterns)


@given(WHOLE)
def test_few_queries_are_enumerated(difference: list[int]) -> None:
    found = randomisation_p(np.array(difference, dtype=np.float64))
    assert found == pytest.approx(p_of_all_patterns(difference), abs=1e-12)


@given(WHOLE)
def test_scipy_s_exact_permutation_test_agrees(difference: list[int]) -> None:
    values = np.array(difference, dtype=np.float64)
    exact = stats.permutation_test(
        (values, np.zeros(values.size)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    # scipy's two-sided p is twice the smaller side, the same for a distribution about 0
    assert randomisation_p(values) == pytest.approx(exact.pvalue, abs=1e-12)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2)), min_size=2, max_size=8))
def test_strata_count_alike_whatever_their_sizes(pairs: list[tuple[int, int]]) -> None:
    difference, strata = [d for d, _ in pairs], [s for _, s in pairs]
    values = np.array(difference, dtype=np.float64)
    found = randomisation_p(values, strata_Q=np.array(strata))
    assert found == pytest.approx(p_of_all_patterns(difference, strata), abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=40), st.integers(0, 2**32))
def test_swapping_the_systems_changes_no_p(values: list[float], seed: int) -> None:
    difference = np.array(values)
    assert randomisation_p(difference, seed) == randomisation_p(-difference, seed)
    assert paired_t(difference) == pytest.approx(paired_t(-difference), nan_ok=True)
    assert 0 < randomisation_p(difference, seed) <= 1


@given(st.integers(2, 60))
def test_equal_systems_have_a_p_of_1(n: int) -> None:
    assert randomisation_p(np.zeros(n)) == 1.0
    assert paired_t(np.zeros(n)) == 1.0


@pytest.mark.parametrize("n", [0, 1])
def test_one_query_has_no_p(n: int) -> None:
    assert math.isnan(randomisation_p(np.full(n, 0.4)))
    assert math.isnan(paired_t(np.full(n, 0.4)))


def test_the_same_seed_reproduces_and_another_does_not() -> None:
    difference = normal(1, 60, 0.15)
    assert randomisation_p(difference, 7) == randomisation_p(difference.copy(), 7)
    assert randomisation_p(difference, 7) != randomisation_p(difference, 8)


def test_many_queries_are_flipped_at_random() -> None:
    # 13 differences are enumerated, 14 of the same kind are not
    values = normal(3, 14, 0.3)
    exact = p_of_all_patterns_float(values)
    sd = math.sqrt(exact * (1 - exact) / FLIPS)
    assert randomisation_p(values) == pytest.approx(exact, abs=5 * sd)
    assert randomisation_p(values) != exact
    assert randomisation_p(values[:13]) == p_of_all_patterns_float(values[:13])
    # zeros add no pattern
    assert randomisation_p(np.append(values[:13], np.zeros(50))) == randomisation_p(values[:13])


def p_of_all_patterns_float(values: F64) -> float:
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=values.size)))
    return float((np.abs(signs @ values) >= abs(values.sum()) - 1e-9).mean())


def test_the_smallest_p_of_flips_is_one_in_10_001() -> None:
    assert randomisation_p(np.full(200, 0.1)) == 1 / 10_001
    assert FLIPS == 10_000


def test_it_errs_as_often_as_it_says() -> None:
    p = [randomisation_p(normal(seed, 30, 0.0), seed) for seed in range(400)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09


def test_blocks_of_flips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    difference = normal(2, 77, 0.1)
    before = randomisation_p(difference, 3)
    monkeypatch.setattr("pyrite.eval.paired_tests._BLOCK_CELLS", 1000)
    assert randomisation_p(difference, 3) == before


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_t_follows_its_formula(values: list[float]) -> None:
    difference = np.array(values)
    n, sd = difference.size, difference.std(ddof=1)
    if np.ptp(difference) < 1e-6:
        return
    t = difference.mean() / (sd / math.sqrt(n))
    assert paired_t(difference) == pytest.approx(2 * stats.t.sf(abs(t), n - 1), rel=1e-6, abs=1e-12)


def test_equal_differences_without_spread_are_certain_to_t() -> None:
    assert paired_t(np.full(5, 0.1)) == 0.0


def holm_oracle(p: list[float]) -> list[float]:
    """Hypothesis by hypothesis: the smallest alpha at which the step-down procedure rejects it."""
    known = [value for value in p if not math.isnan(value)]
    out = []
    for value in p:
        if math.isnan(value):
            out.append(math.nan)
            continue
        ordered = sorted(known)
        steps = [
            (len(ordered) - j) * ordered[j] for j in range(len(ordered)) if ordered[j] <= value
        ]
        # of equal p values the first to be tested decides
        first = ordered.index(value)
        out.append(min(1.0, max(steps[: first + 1])))
    return out


@given(P_VALUES)
def test_holm_is_the_step_down_procedure(p: list[float]) -> None:
    found = holm(p)
    assert found.tolist() == pytest.approx(holm_oracle(p), nan_ok=True)


def test_holm_s_worked_numbers() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).size == 0
    # what is no test makes the others' correction no greater
    assert holm([0.02, math.nan, 0.03])[[0, 2]].tolist() == pytest.approx([0.04, 0.04])


@given(P_VALUES)
def test_holm_knows_no_order(p: list[float]) -> None:
    order = np.random.default_rng(len(p)).permutation(len(p))
    shuffled = holm(np.array(p)[order]) if p else holm(p)
    assert shuffled.tolist() == pytest.approx(holm(p)[order].tolist(), nan_ok=True)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_weights_are_those_of_a_mean_of_means(strata: list[int]) -> None:
    values = np.arange(len(strata), dtype=np.float64) ** 2
    groups = [[v for v, s in zip(values, strata, strict=True) if s == one] for one in set(strata)]
    wanted = np.mean([np.mean(group) for group in groups])
    assert values @ weights(len(strata), np.array(strata)) == pytest.approx(wanted)
    assert values @ weights(len(strata)) == pytest.approx(values.mean())

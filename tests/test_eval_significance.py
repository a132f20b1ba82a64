from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.eval.evaluate import Evaluation
from pyrite.eval.measures import F64
from pyrite.eval.report import label, systems_table
from pyrite.eval.significance import RESAMPLES, Comparison, compare, paired_interval

VALUES = st.lists(st.floats(-1, 1, allow_nan=False, width=32), min_size=2, max_size=12)


def normal_differences(seed: int, n: int, mean: float) -> F64:
    return np.random.default_rng(seed).normal(mean, 1.0, n)


@given(VALUES, st.integers(0, 2**32))
def test_swapping_the_systems_negates_the_interval(values: list[float], seed: int) -> None:
    difference = np.array(values)
    low, high = paired_interval(difference, seed)
    swapped_low, swapped_high = paired_interval(-difference, seed)
    assert (swapped_low, swapped_high) == pytest.approx((-high, -low), abs=1e-12)


@given(VALUES)
def test_the_interval_lies_within_the_differences_and_moves_with_them(values: list[float]) -> None:
    difference = np.array(values)
    low, high = paired_interval(difference)
    assert difference.min() - 1e-12 <= low <= high <= difference.max() + 1e-12
    # the same queries are resampled whatever their values are
    shifted = paired_interval(2 * difference + 3)
    assert shifted == pytest.approx((2 * low + 3, 2 * high + 3), abs=1e-9)


def test_equal_systems_have_an_interval_of_zero() -> None:
    assert paired_interval(np.zeros(30)) == (0.0, 0.0)


@pytest.mark.parametrize("n", [0, 1])
def test_one_query_has_no_interval(n: int) -> None:
    low, high = paired_interval(np.full(n, 0.3))
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_seed_decides_the_interval() -> None:
    difference = normal_differences(1, 25, 0.2)
    assert paired_interval(difference, 5) == paired_interval(difference.copy(), 5)
    assert paired_interval(difference, 5) != paired_interval(difference, 6)


def test_the_interval_is_the_percentiles_of_resampled_means() -> None:
    difference = normal_differences(2, 40, 0.1)
    generator = np.random.default_rng(99)
    means = difference[generator.integers(0, 40, (200_000, 40))].mean(axis=1)
    wanted = np.percentile(means, [2.5, 97.5])
    # the end points of 10,000 resamples have a standard error of about 0.027 sd of the means
    assert paired_interval(difference) == pytest.approx(wanted, abs=4 * 0.027 * means.std())
    assert RESAMPLES == 10_000


def test_the_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    trials, n, mean = 200, 40, 0.25
    inside, widths = 0, []
    for seed in range(trials):
        difference = normal_differences(seed, n, mean)
        low, high = paired_interval(difference, seed)
        inside += low <= mean <= high
        widths.append((high - low) / (2 * 1.96 * difference.std() / math.sqrt(n)))
    assert 0.89 <= inside / trials <= 0.98
    assert np.mean(widths) == pytest.approx(1.0, abs=0.02)


def test_queries_are_compared_in_pairs() -> None:
    # queries differ far more in difficulty than the systems do
    generator = np.random.default_rng(3)
    b = generator.uniform(0, 1, 60)
    a = b + 0.02 + generator.normal(0, 0.01, 60)
    found = compare("tuned", "base", "ndcg@10", a, b)
    assert 0 < found.ci95[0] < 0.02 < found.ci95[1] < 0.03
    shuffled = compare("tuned", "base", "ndcg@10", a, generator.permutation(b))
    assert shuffled.ci95[0] < 0 < shuffled.ci95[1]


def test_a_comparison_names_its_systems_and_counts_its_queries() -> None:
    a, b = (np.random.default_rng(at).uniform(0, 1, 20) for at in (1, 2))
    found = compare("a", "b", "mrr@10", a, b, seed=4)
    interval = paired_interval(a - b, 4)
    assert found == Comparison("a", "b", "mrr@10", float((a - b).mean()), interval, 20)
    swapped = compare("b", "a", "mrr@10", b, a, seed=4)
    assert (swapped.a, swapped.b) == ("b", "a")
    assert swapped.difference == -found.difference
    assert swapped.ci95 == pytest.approx((-interval[1], -interval[0]))


@pytest.mark.parametrize(
    ("interval", "marked"),
    [
        ((0.01, 0.2), True),
        ((-0.2, -0.01), True),
        ((-0.1, 0.1), False),
        ((0.0, 0.2), False),
        ((math.nan, math.nan), False),
    ],
)
def test_the_table_marks_a_difference_whose_interval_leaves_out_zero(
    interval: tuple[float, float], marked: bool
) -> None:
    evaluations = {
        "base": Evaluation(["q0", "q1"], {"ndcg@10": np.array([0.0, 0.5])}),
        "tuned": Evaluation(["q0", "q1"], {"ndcg@10": np.array([0.5, 0.7])}),
    }
    comparison = Comparison("tuned", "base", "ndcg@10", 0.35, interval, 2)
    table = systems_table(evaluations, [comparison], "")
    names, cells = (list(column.cells) for column in table.columns)
    assert [str(column.header) for column in table.columns] == ["system", "nDCG@10"]
    assert names == ["base", "tuned", "tuned - base"]
    assert cells[:2] == ["0.2500", "0.6000"]
    assert ("+0.3500*" in str(cells[2])) is marked


def test_measures_are_labelled_as_the_field_writes_them() -> None:
    assert [label(f"{m}@5") for m in ("ndcg", "mrr", "recall", "map", "precision")] == [
        "nDCG@5",
        "MRR@5",
        "Recall@5",
        "MAP@5",
        "P@5",
    ]

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.eval.measures import F64
from pyrite.eval.paired_tests import holm, paired_t, randomisation_p
from pyrite.eval.report import label, systems_table
from pyrite.eval.results import Evaluation
from pyrite.eval.significance import (
    RESAMPLES,
    Comparison,
    compare,
    compare_all,
    paired_interval,
    with_holm,
)

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
    difference, p = float((a - b).mean()), randomisation_p(a - b, 4)
    assert found == Comparison("a", "b", "mrr@10", difference, interval, 20, p, paired_t(a - b), p)
    swapped = compare("b", "a", "mrr@10", b, a, seed=4)
    assert (swapped.a, swapped.b) == ("b", "a")
    assert swapped.difference == -found.difference
    assert swapped.ci95 == pytest.approx((-interval[1], -interval[0]))
    assert (swapped.p, swapped.p_holm) == (found.p, found.p_holm)


def one(p_holm: float, seeds: tuple[float, float] | None = None) -> Comparison:
    interval = (0.01, 0.7)
    return Comparison("tuned", "base", "ndcg@10", 0.35, interval, 2, 0.01, 0.01, p_holm, seeds)


@pytest.mark.parametrize(
    ("comparison", "marked"),
    [
        (one(0.05), True),
        (one(0.0501), False),
        (one(math.nan), False),
        (one(0.01, (0.1, 0.5)), True),
        (one(0.01, (-0.5, -0.1)), True),
        (one(0.01, (-0.1, 0.5)), False),
        (one(0.01, (0.0, 0.5)), False),
        (one(0.2, (0.1, 0.5)), False),
    ],
)
def test_the_table_marks_what_is_significant_after_holm(
    comparison: Comparison, marked: bool
) -> None:
    evaluations = {
        "base": Evaluation(["q0", "q1"], {"ndcg@10": np.array([0.0, 0.5])}),
        "tuned": Evaluation(["q0", "q1"], {"ndcg@10": np.array([0.5, 0.7])}),
    }
    table = systems_table(evaluations, [comparison], "")
    names, cells = (list(column.cells) for column in table.columns)
    assert [str(column.header) for column in table.columns] == ["system", "nDCG@10"]
    assert names == ["base", "tuned", "tuned - base"]
    assert cells[:2] == ["0.2500", "0.6000"]
    assert ("+0.3500*" in str(cells[2])) is marked
    assert comparison.significant is marked
    assert comparison.as_json()["significant"] is marked


def test_json_has_null_where_there_is_nothing() -> None:
    found = compare("a", "b", "ndcg@10", np.array([0.5]), np.array([0.25])).as_json()
    assert found["difference"] == 0.25
    for name in ("ci95", "p", "p_t", "p_holm", "ci95_seeds"):
        assert found[name] is None, name
    several = compare("a", "b", "ndcg@10", np.eye(2, 5), np.zeros(5)).as_json()
    assert len(several["ci95"]) == len(several["ci95_seeds"]) == 2


def test_the_comparisons_of_a_measure_are_one_family() -> None:
    generator = np.random.default_rng(11)
    systems = {
        name: {m: generator.uniform(0, 1, 30) + shift for m in ("ndcg@10", "mrr@10")}
        for name, shift in (("a", 0.0), ("b", 0.25), ("c", 0.28))
    }
    found = compare_all(systems, seed=1)
    pairs = [("b", "a"), ("c", "a"), ("c", "b")]
    assert [(c.a, c.b) for c in found[::2]] == pairs
    assert [c.measure for c in found] == ["ndcg@10", "mrr@10"] * 3
    for measure in ("ndcg@10", "mrr@10"):
        family = [c for c in found if c.measure == measure]
        assert [c.p_holm for c in family] == holm([c.p for c in family]).tolist()
        for c in family:
            assert c.p == randomisation_p(systems[c.a][measure] - systems[c.b][measure], 1)
    # fewer tests, less correction
    against = compare_all(systems, seed=1, against="b")
    assert [(c.a, c.b) for c in against[::2]] == [("a", "b"), ("c", "b")]
    fewer = compare_all(systems, seed=1, against="a")
    assert fewer[2].p == found[2].p
    assert fewer[2].p_holm == pytest.approx(2 * found[2].p)
    assert found[2].p_holm == pytest.approx(3 * found[2].p)
    assert with_holm([]) == []


def test_a_stratified_interval_is_that_of_the_mean_of_means() -> None:
    generator = np.random.default_rng(5)
    parts = [generator.normal(mean, 0.1, n) for mean, n in ((0.9, 6), (0.1, 60), (0.2, 30))]
    difference = np.concatenate(parts)
    strata = np.repeat([7, 2, 4], [6, 60, 30])
    order = generator.permutation(96)
    low, high = paired_interval(difference[order], strata_Q=strata[order])
    # brute force: each part resampled in itself
    means = [
        np.mean([generator.choice(part, part.size).mean() for part in parts]) for _ in range(4000)
    ]
    assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.004)
    plain = paired_interval(difference)
    assert low > plain[1], "sizes of the strata weighed"
    found = compare("a", "b", "m", difference, np.zeros(96), strata_Q=strata)
    assert found.difference == pytest.approx(np.mean([part.mean() for part in parts]))
    assert math.isnan(found.p_t)
    assert math.isnan(paired_interval(difference[:8], strata_Q=np.array([0] * 7 + [1]))[0])


def test_measures_are_labelled_as_the_field_writes_them() -> None:
    assert [label(f"{m}@5") for m in ("ndcg", "mrr", "recall", "map", "precision")] == [
        "nDCG@5",
        "MRR@5",
        "Recall@5",
        "MAP@5",
        "P@5",
    ]

"""Platt scaling and its measures: against plain loops, by hand, and under changes of scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.platt import (
    BINS,
    F64,
    FOLDS,
    Labelled,
    Platt,
    _folds,
    fit_platt,
    out_of_fold,
    quality,
    separable,
)


def data_of(
    scores: list[float], labels: list[bool], weights: list[float] | None = None
) -> Labelled:
    groups = [f"q{at // 3}" for at in range(len(scores))]
    given_weights = np.ones(len(scores)) if weights is None else np.array(weights)
    return Labelled(np.array(scores, dtype=np.float64), np.array(labels), given_weights, groups)


def drawn(count: int, bias: float, temperature: float, seed: int = 0) -> Labelled:
    """Labels that follow the very curve that is to be found."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(bias, 3 * temperature, count)
    chances = Platt(bias, temperature).probabilities(scores)
    return data_of(scores.tolist(), (generator.random(count) < chances).tolist())


def loss_by_loops(data: Labelled, bias: float, temperature: float) -> float:
    """The cross-entropy with Platt's smoothed labels."""
    positives = sum(data.labels.tolist())
    negatives = len(data.labels) - positives
    total = 0.0
    for score, label, weight in zip(data.scores, data.labels, data.weights, strict=True):
        target = (positives + 1) / (positives + 2) if label else 1 / (negatives + 2)
        p = 1 / (1 + math.exp(-(score - bias) / temperature))
        total -= weight * (target * math.log(p) + (1 - target) * math.log(1 - p))
    return total


def test_the_curve_behind_the_labels_is_found() -> None:
    found = fit_platt(drawn(20_000, bias=-1.5, temperature=0.4))
    assert found.bias == pytest.approx(-1.5, abs=0.02)
    assert found.temperature == pytest.approx(0.4, rel=0.03)
    # no more digits than two machines agree on
    assert found.bias == float(f"{found.bias:.6g}")


@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.booleans(), st.sampled_from([0.5, 1.0, 3.0])),
        min_size=6,
        max_size=25,
    )
)
def test_no_other_numbers_are_likelier(pairs: list[tuple[float, bool, float]]) -> None:
    scores, labels, weights = (list(column) for column in zip(*pairs, strict=True))
    data = data_of(scores, labels, weights)
    try:
        found = fit_platt(data)
    except PyriteError:
        # equal scores, or scores that do not rise with the labels
        return
    assume(1e-3 < found.temperature < 1e3)
    best = loss_by_loops(data, found.bias, found.temperature)
    for bias in (-0.1, 0.0, 0.1):
        for factor in (0.9, 1.0, 1.1):
            other = (found.bias + bias * found.temperature, found.temperature * factor)
            assert best <= loss_by_loops(data, *other) + 1e-6


@given(st.floats(0.01, 50), st.floats(-20, 20))
def test_the_unit_and_the_origin_of_scores_do_not_matter(scale: float, shift: float) -> None:
    data = drawn(200, 0.3, 0.7)
    moved = Labelled(data.scores * scale + shift, data.labels, data.weights, data.groups)
    one, other = fit_platt(data), fit_platt(moved)
    assert other.temperature == pytest.approx(one.temperature * scale, rel=1e-4)
    assert other.bias == pytest.approx(one.bias * scale + shift, abs=1e-4 * (scale + abs(shift)))


def test_weights_are_repetitions() -> None:
    data = drawn(300, 0.0, 1.0)
    heavy = Labelled(data.scores, data.labels, np.full(300, 7.0), data.groups)
    assert fit_platt(heavy) == fit_platt(data)
    # all relevant pairs three times as heavy: the odds are three times as high everywhere
    tripled = Labelled(data.scores, data.labels, np.where(data.labels, 3.0, 1.0), data.groups)
    plain, raised = fit_platt(data), fit_platt(tripled)
    assert raised.bias == pytest.approx(plain.bias - plain.temperature * math.log(3), abs=0.1)


def test_what_one_threshold_parts_has_a_slope_all_the_same() -> None:
    data = data_of([0.0] * 40 + [1.0] * 40, [False] * 40 + [True] * 40)
    found = fit_platt(data)
    # at the two scores there are, the likeliest curve goes through the smoothed labels
    assert found.probabilities(np.array([0.0, 1.0])) == pytest.approx([1 / 42, 41 / 42], abs=1e-5)
    assert found.bias == pytest.approx(0.5, abs=1e-5)
    assert separable(data)
    assert not separable(drawn(100, 0.0, 1.0))


@pytest.mark.parametrize(
    ("scores", "says"),
    [([1.0, 1.0, 1.0], "all 3 scores are 1"), ([3.0, 2.0, 1.0], "do not rise with relevance")],
)
def test_what_cannot_be_fitted_is_said(scores: list[float], says: str) -> None:
    with pytest.raises(PyriteError, match=says):
        fit_platt(data_of(scores, [False, False, True]))


def test_brier_and_calibration_error_by_hand() -> None:
    data = data_of([0.0] * 4, [True, False, False, True])
    found = quality(np.array([0.95, 0.91, 0.3, 1.0]), data)
    # 0.05^2 + 0.91^2 + 0.3^2 + 0
    assert found.brier == pytest.approx((0.0025 + 0.8281 + 0.09) / 4)
    # the last bin: mean 0.9533, two of three; the fourth: 0.3, none of one
    assert found.ece == pytest.approx(3 / 4 * (0.95333333 - 2 / 3) + 1 / 4 * 0.3)
    assert [at for at, one in enumerate(found.bins) if one is not None] == [3, 9]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.1, 5)), min_size=1, max_size=30)
)
def test_the_measures_are_what_plain_loops_say(rows: list[tuple[float, bool, float]]) -> None:
    probabilities, labels, weights = (list(column) for column in zip(*rows, strict=True))
    found = quality(np.array(probabilities), data_of([0.0] * len(rows), labels, weights))
    total = sum(weights)
    brier = sum(w * (p - y) ** 2 for p, y, w in rows) / total
    ece = 0.0
    for at in range(BINS):
        inside = [(p, y, w) for p, y, w in rows if min(int(p * BINS), BINS - 1) == at]
        assert (found.bins[at].pairs if (found.bins[at]) else 0) == len(inside)  # type: ignore[union-attr]
        weight = sum(w for _, _, w in inside)
        if weight:
            mean = sum(w * p for p, _, w in inside) / weight
            share = sum(w * y for _, y, w in inside) / weight
            ece += weight / total * abs(mean - share)
    assert found.brier == pytest.approx(brier)
    assert found.ece == pytest.approx(ece)


@given(st.permutations(range(60)), st.integers(0, 3))
def test_queries_stay_whole_and_the_order_of_pairs_does_not_matter(
    order: list[int], seed: int
) -> None:
    data = drawn(60, 0.0, 2.0)
    folds = _folds(data, seed)
    by_group: dict[str, set[int]] = {}
    for group, fold in zip(data.groups, folds.tolist(), strict=True):
        by_group.setdefault(group, set()).add(fold)
    assert all(len(found) == 1 for found in by_group.values())
    assert set(folds.tolist()) == set(range(FOLDS))
    groups = [data.groups[at] for at in order]
    places = np.array(order)
    moved = Labelled(data.scores[places], data.labels[places], data.weights[places], groups)
    assert _folds(moved, seed).tolist() == folds[places].tolist()


def test_a_pair_is_judged_by_a_fit_without_its_query() -> None:
    data = drawn(90, 0.0, 1.0)
    found, folds = out_of_fold(data, 5), _folds(data, 5)
    wanted: F64 = np.zeros(90)
    for at in range(90):
        others = np.array([fold != folds[at] for fold in folds])
        wanted[at] = fit_platt(data.part(others)).probabilities(data.scores[at : at + 1])[0]
    assert found.tolist() == wanted.tolist()
    assert not np.array_equal(_folds(data, 6), folds)


def test_one_query_cannot_be_held_out() -> None:
    data = data_of([0.0, 1.0, 2.0, 0.5, 0.1, 0.2], [False, True, True, False, False, False])
    with pytest.raises(PyriteError, match="all relevant pairs are of 1 query"):
        out_of_fold(data, 0)

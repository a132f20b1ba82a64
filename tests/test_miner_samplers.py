from __future__ import annotations

import itertools
import math
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampler_setup import fitting

from pyrite.core.candidates import Reason
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.miner.draw import draw, first_draw_probability
from pyrite.miner.samplers import SAMPLERS, SamplerConfig, Scored, log_weights

F32 = npt.NDArray[np.float32]
WORKED = [5.0, 4.0, 3.0, 2.0, 0.0]
# whole eighths: sums and differences of them are exact, so a shift changes no bit
EIGHTHS = st.integers(-64, 64).map(lambda i: i / 8)


def view(scores: list[float], pos: float, reasons: list[int] | None = None) -> Scored:
    return Scored(
        np.array([scores], dtype=np.float32),
        np.array([reasons or [0] * len(scores)], dtype=np.uint16),
        np.array([pos], dtype=np.float32),
    )


def simans(scores: list[float], pos: float, a: float, b: float, tau: float = 1.0) -> F32:
    weights = log_weights(view(scores, pos), SamplerConfig(name="simans", a=a, b=b, tau=tau))
    return np.asarray(weights[0])


def chances(weights: F32) -> F32:
    return np.asarray(first_draw_probability(weights[None, :])[0])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0.5, 0.0, [0.258237, 0.425762, 0.258237, 0.057621, 0.000143]),
        (0.5, 1.0, [0.570458, 0.346000, 0.077203, 0.006337, 0.000002]),
        (1.0, 0.0, [0.209728, 0.570101, 0.209728, 0.010442, 0.000000]),
    ],
)
def test_simans_probabilities_of_worked_scores(a: float, b: float, expected: list[float]) -> None:
    assert chances(simans(WORKED, 4.0, a, b)) == pytest.approx(expected, abs=1e-5)


def test_the_laplace_kernel_of_worked_scores() -> None:
    config = SamplerConfig(name="simans", kernel="laplace", a=3.0, b=0.0, tau=1.0)
    weights = log_weights(view(WORKED, 4.0), config)[0]
    expected = [0.045176, 0.907392, 0.045176, 0.002249, 0.000006]
    assert chances(np.asarray(weights)) == pytest.approx(expected, abs=1e-5)
    shifted = SamplerConfig(name="simans", kernel="laplace", a=2.0, b=-1.0, tau=0.5)
    plain = [-2.0 * abs((s - 4.0) / 0.5 + 1.0) for s in WORKED]
    assert log_weights(view(WORKED, 4.0), shifted)[0].tolist() == pytest.approx(plain)


def test_simans_far_from_the_positive_does_not_underflow() -> None:
    weights = simans([20.0, 30.0], 70.0, 0.5, 0.0)
    assert weights.tolist() == [-1250.0, -800.0]
    assert chances(weights).tolist() == [0.0, 1.0]


def test_simans_on_cosines_is_the_logit_form() -> None:
    scores, pos = [0.85, 0.80, 0.70], 0.80
    weights = simans(scores, pos, a=0.5, b=0.0, tau=0.05)
    assert np.exp(weights) == pytest.approx([0.606531, 1.0, 0.135335], abs=1e-5)
    assert weights == pytest.approx(simans(scores, pos, a=200.0, b=0.0), abs=1e-5)


@given(
    st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=8),
    st.floats(-2, 2, width=32),
    st.floats(0, 4),
    st.floats(-3, 3),
    st.floats(0.05, 2),
)
def test_simans_equals_a_plain_loop(
    scores: list[float], pos: float, a: float, b: float, tau: float
) -> None:
    expected = [-a * ((s - pos) / tau - b) ** 2 for s in scores]
    assert simans(scores, pos, a, b, tau) == pytest.approx(expected, rel=1e-6, abs=1e-30)


@given(st.lists(EIGHTHS, min_size=1, max_size=8), EIGHTHS, EIGHTHS, st.floats(-2, 2))
def test_simans_ignores_a_constant_added_to_all_scores(
    scores: list[float], pos: float, shift: float, b: float
) -> None:
    moved = simans([s + shift for s in scores], pos + shift, 0.5, b, 0.05)
    assert np.array_equal(moved, simans(scores, pos, 0.5, b, 0.05))


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=8), st.floats(-2, 2))
def test_simans_without_sharpness_is_uniform(scores: list[float], b: float) -> None:
    found = chances(simans(scores, 1.0, 0.0, b))
    assert found == pytest.approx([1 / len(scores)] * len(scores), rel=1e-6)


@given(
    st.lists(EIGHTHS, min_size=2, max_size=8, unique=True),
    EIGHTHS,
    st.sampled_from([-1.0, 0.0, 1.0]),
    st.integers(0, 50),
)
def test_simans_of_great_sharpness_picks_the_nearest(
    scores: list[float], pos: float, b: float, seed: int
) -> None:
    distances = [abs(s - pos - b) for s in scores]
    nearest = min(distances)
    weights = simans(scores, pos, 1e4, b)
    bits = np.random.default_rng(seed).integers(0, 2**64, (1, len(scores)), dtype=np.uint64)
    first = int(draw(weights[None, :], bits, np.arange(len(scores))[None, :], 1)[0, 0])
    assert distances[first] == nearest


def test_simans_leaves_scores_that_are_not_finite_out() -> None:
    weights = simans([math.inf, 1.0, math.nan, -math.inf], 1.0, 0.0, 0.0)
    assert weights.tolist() == [-math.inf, 0.0, -math.inf, -math.inf]


@pytest.mark.parametrize(("first", "last"), list(itertools.combinations(range(8), 2)))
def test_window_is_zero_based_and_half_open(first: int, last: int) -> None:
    names = "abcdef"
    scores = [1.0 - 0.1 * i for i in range(len(names))]
    weights = log_weights(
        view(scores, 1.0), SamplerConfig(name="window", window_min=first, window_max=last)
    )
    inside = [n for n, w in zip(names, weights[0], strict=True) if w == 0.0]
    assert "".join(inside) == names[first:last]
    assert set(weights[0].tolist()) <= {0.0, -math.inf}


def test_window_of_ten_documents() -> None:
    weights = log_weights(
        view([1.0 - 0.05 * i for i in range(10)], 1.0),
        SamplerConfig(name="window", window_min=2, window_max=5),
    )
    drawn = "".join("abcdefghij"[i] for i in np.flatnonzero(weights[0] == 0.0))
    assert drawn == "cde"


def test_window_counts_ranks_before_score_rules_and_after_structural_ones() -> None:
    reasons = [Reason.POSITIVE, Reason.MARGIN, 0, Reason.DUPLICATE, Reason.PERCENT, 0, 0, 0]
    weights = log_weights(
        view([1.0] * 8, 1.0, [int(r) for r in reasons]),
        SamplerConfig(name="window", window_min=2, window_max=4),
    )
    # ranks of the rest: column 1 -> 0, 2 -> 1, 4 -> 2 (rejected by score), 5 -> 3, 6 -> 4
    assert np.flatnonzero(weights[0] == 0.0).tolist() == [5]


def test_topk_steps_are_wider_than_any_noise() -> None:
    weights = log_weights(view([3.0, 2.0, 1.0], 1.0), SamplerConfig(name="topk"))[0]
    # noise lies within [-3.7, 37.5]
    assert (np.diff(weights) < -41.2).all()
    assert chances(weights).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)


def test_random_treats_every_candidate_alike() -> None:
    weights = log_weights(view([3.0, -2.0, 1.0], 1.0), SamplerConfig(name="random"))
    assert weights.tolist() == [[0.0, 0.0, 0.0]]


@given(
    st.sampled_from(sorted(SAMPLERS)),
    st.lists(
        st.tuples(st.floats(-2, 2, width=32), st.sampled_from([0, 0, *map(int, Reason)])),
        min_size=1,
        max_size=10,
    ),
)
def test_no_sampler_gives_weight_to_a_rejected_candidate(
    name: str, row: list[tuple[float, int]]
) -> None:
    scores, reasons = [s for s, _ in row], [r for _, r in row]
    windows = {"window_min": 0, "window_max": 100, "k_hard": 100, "c_hard": 100}
    config = parse_config(SamplerConfig, fitting(name=name, **windows))
    weights = log_weights(view(scores, 0.5, reasons), config)
    assert weights.dtype == np.float32
    assert np.isfinite(weights[0]).tolist() == [r == 0 for r in reasons]


def test_rows_are_weighted_on_their_own() -> None:
    scores = np.array([[2.0, 1.0], [2.0, 1.0]], dtype=np.float32)
    both = Scored(scores, np.zeros((2, 2), dtype=np.uint16), np.array([2.0, 1.0], dtype=np.float32))
    weights = log_weights(both, SamplerConfig(name="simans", tau=1.0))
    assert weights.tolist() == [[0.0, -0.5], [-0.5, 0.0]]


def test_every_named_sampler_exists() -> None:
    assert set(get_args(SamplerConfig.model_fields["name"].annotation)) == set(SAMPLERS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_min": 5, "window_max": 5}, "window_min=5 must be below sampler.window_max=5"),
        ({"n": 0}, "n=0"),
        ({"tau": 0.0}, "tau"),
        ({"a": -1.0}, "a=-1"),
        ({"name": "best"}, "name='best'"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(PyriteError, match=message):
        parse_config(SamplerConfig, settings)

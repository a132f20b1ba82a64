from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.indexes.vector_map import RIDGES, VectorMap, fit_map

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def unit(rows: int, dimension: int, seed: int) -> F32:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def turned(vectors: F32, seed: int) -> F32:
    """Each vector by one small random rotation, so a linear map knows all."""
    dimension = vectors.shape[1]
    noise = 0.3 * np.random.default_rng(seed).standard_normal((dimension, dimension))
    rotation, _ = np.linalg.qr(np.eye(dimension) + noise - noise.T)
    return np.asarray(vectors @ rotation, dtype=np.float32)


def plain_ridge(stale: F64, fresh: F64, scaled: float) -> tuple[F64, F64, F64]:
    """Centre, weights and shift from the normal equations."""
    center, shift = stale.mean(axis=0), fresh.mean(axis=0) - stale.mean(axis=0)
    x, y = stale - center, fresh - stale - shift
    gram = x.T @ x
    ridge = scaled * np.trace(gram) / len(gram)
    return center, np.linalg.solve(gram + ridge * np.eye(len(gram)), x.T @ y), shift


def plain_left_out(stale: F32, fresh: F32, scaled: float) -> float:
    """The leave-one-out error with the ridge of all texts: one fit for each text."""
    x, y = stale.astype(np.float64), fresh.astype(np.float64)
    centered = x - x.mean(axis=0)
    ridge = scaled * np.trace(centered.T @ centered) / x.shape[1]
    total = 0.0
    for at in range(len(x)):
        rest = np.delete(np.arange(len(x)), at)
        center, shift = x[rest].mean(axis=0), y[rest].mean(axis=0) - x[rest].mean(axis=0)
        gram = (x[rest] - center).T @ (x[rest] - center)
        cross = (x[rest] - center).T @ (y[rest] - x[rest] - shift)
        weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), cross)
        guess = x[at] + (x[at] - center) @ weights + shift
        total += float(np.square(guess - y[at]).sum())
    return float(np.sqrt(total / len(x)))


def test_a_linear_drift_is_recovered() -> None:
    stale = unit(400, 12, 0)
    fresh = turned(stale, 1)
    found = fit_map(stale[:100], fresh[:100])
    assert np.abs(found.apply(stale[100:]) - fresh[100:]).max() < 1e-3
    assert found.error < 1e-3
    assert found.identity_error > 0.1


def test_no_drift_is_no_map() -> None:
    stale = unit(50, 8, 2)
    found = fit_map(stale, stale)
    assert found.error == found.identity_error == 0.0
    np.testing.assert_allclose(found.apply(stale), stale, atol=1e-7)


def test_noise_alone_pulls_the_map_to_the_identity() -> None:
    stale, noise = unit(60, 20, 3), unit(60, 20, 4)
    found = fit_map(stale, np.asarray(stale + 0.5 * noise, dtype=np.float32))
    assert found.ridge >= 10.0
    assert np.abs(found.weights_FD).max() < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_weights_and_error_are_those_of_plain_loops(seed: int) -> None:
    stale = unit(23, 5, seed)
    fresh = np.asarray(turned(stale, seed) + 0.1 * unit(23, 5, seed + 9), dtype=np.float32)
    found = fit_map(stale, fresh)
    errors = [plain_left_out(stale, fresh, ridge) for ridge in RIDGES]
    assert found.ridge == RIDGES[int(np.argmin(errors))]
    assert found.error == pytest.approx(min(errors), rel=1e-6)
    center, weights, shift = plain_ridge(
        stale.astype(np.float64), fresh.astype(np.float64), found.ridge
    )
    np.testing.assert_allclose(found.center_F, center, atol=1e-12)
    np.testing.assert_allclose(found.weights_FD, weights, atol=1e-9)
    np.testing.assert_allclose(found.shift_D, shift, atol=1e-12)


def test_landmarks_follow_what_is_no_linear_drift() -> None:
    stale = unit(400, 4, 7)
    fresh = np.asarray(stale + 0.3 * np.abs(stale), dtype=np.float32)
    fresh /= np.linalg.norm(fresh, axis=1, keepdims=True)
    straight, curved = (fit_map(stale[:200], fresh[:200], count) for count in (0, 150))
    assert curved.error < 0.5 * straight.error
    wrong = np.linalg.norm(curved.apply(stale[200:]) - fresh[200:], axis=1)
    assert float(np.sqrt(np.square(wrong).mean())) == pytest.approx(curved.error, rel=0.4)


@pytest.mark.parametrize("landmarks", [0, 9])
def test_left_out_texts_are_mapped_by_the_others(landmarks: int) -> None:
    stale = unit(40, 6, 8)
    fresh = np.asarray(turned(stale, 8) + 0.05 * unit(40, 6, 9), dtype=np.float32)
    found = fit_map(stale, fresh, landmarks)
    guesses = found.left_out(stale, fresh)
    features = found.features(stale)
    gram_ridge = np.linalg.inv(found.inverse_FF) - (features - found.center_F).T @ (
        features - found.center_F
    )
    for at in range(len(stale)):
        rest = np.delete(np.arange(len(stale)), at)
        center = features[rest].mean(axis=0)
        shift = (fresh[rest] - stale[rest]).mean(axis=0, dtype=np.float64)
        x, y = features[rest] - center, fresh[rest] - stale[rest] - shift
        weights = np.linalg.solve(x.T @ x + gram_ridge, x.T @ y)
        plain = stale[at] + shift + (features[at] - center) @ weights
        np.testing.assert_allclose(guesses[at], plain, atol=1e-5)


@pytest.mark.parametrize("landmarks", [0, 30])
def test_unit_vectors_stay_unit_vectors_and_others_are_left(landmarks: int) -> None:
    stale = unit(60, 6, 1)
    kept = fit_map(stale, turned(stale, 1), landmarks).apply(stale)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1.0, atol=1e-6)
    twice = fit_map(stale, np.asarray(2.0 * stale, dtype=np.float32), landmarks).apply(stale)
    assert np.linalg.norm(twice, axis=1).mean() == pytest.approx(2.0, abs=0.3)


@given(seed=st.integers(0, 1000), rows=st.integers(2, 30), dimension=st.integers(2, 9))
def test_any_pairs_give_a_finite_map_that_keeps_lengths(
    seed: int, rows: int, dimension: int
) -> None:
    stale, fresh = unit(rows, dimension, seed), unit(rows, dimension, seed + 1)
    found = fit_map(stale, fresh)
    assert isinstance(found, VectorMap)
    assert found.ridge in RIDGES
    assert np.isfinite(found.apply(stale)).all()
    np.testing.assert_allclose(np.linalg.norm(found.apply(stale), axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize(("left", "right"), [((1, 3), (1, 3)), ((4, 3), (4, 2)), ((4, 3), (3, 3))])
def test_what_is_no_pairs_is_refused(left: tuple[int, int], right: tuple[int, int]) -> None:
    with pytest.raises(PyriteError, match=r"refresh\.partial\.share"):
        fit_map(np.zeros(left, dtype=np.float32), np.zeros(right, dtype=np.float32))


def test_what_is_left_out_takes_the_memory_of_a_block() -> None:
    rows, landmarks = 20_000, 200
    stale = unit(rows, 6, 10)
    found = fit_map(stale[:1000], turned(stale[:1000], 10), landmarks)
    tracemalloc.start()
    try:
        assert len(found.left_out(stale, stale)) == rows
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < rows * landmarks * 8

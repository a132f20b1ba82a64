from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.core.rng import U64, combine, splitmix64, stream
from pyrite.miner.cluster_masks import second_nearest
from pyrite.miner.clusters import nearest_clusters
from pyrite.miner.online_clusters import (
    OnlineClusters,
    read_state,
    start,
    updated,
    write_state,
)

F32 = npt.NDArray[np.float32]


def unit(rows: int, dimension: int, seed: int) -> F32:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def hashes(rows: int) -> U64:
    return splitmix64(np.arange(rows))


def plain_start(vectors: F32, ids: U64, k: int, seed: int) -> list[int]:
    keys = combine(stream(seed, 0, 9), ids).tolist()
    chosen = [min(range(len(vectors)), key=keys.__getitem__)]
    while len(chosen) < k:
        last = vectors[chosen[-1]].astype(np.float64)
        rest = [i for i in range(len(vectors)) if i not in chosen]
        chosen.append(
            min(rest, key=lambda i: (float(vectors[i].astype(np.float64) @ last), keys[i]))
        )
    return chosen


@given(st.integers(0, 300), st.integers(1, 12), st.integers(1, 12))
def test_the_first_centroids_equal_a_plain_loop(seed: int, size: int, k: int) -> None:
    k = min(k, size)
    vectors, ids = unit(size, 4, seed), hashes(size)
    state = start(vectors, ids, k, seed)
    expected = vectors[plain_start(vectors, ids, k, seed)]
    assert state.centroids == pytest.approx(expected, abs=1e-6)
    assert (state.generation, state.counts.tolist()) == (0, [0] * k)
    order = np.random.default_rng(seed).permutation(size)
    turned = start(vectors[order], ids[order], k, seed)
    assert turned.centroids.tobytes() == state.centroids.tobytes()


def plain_update(state: OnlineClusters, vectors: F32, assign: list[int], rate: float) -> list[F32]:
    out = []
    for cluster, old in enumerate(state.centroids.astype(np.float64)):
        members = [v for v, c in zip(vectors.tolist(), assign, strict=True) if c == cluster]
        if not members:
            out.append(state.centroids[cluster])
            continue
        mean = [math.fsum(column) / len(members) for column in zip(*members, strict=True)]
        moved = [(1 - rate) * o + rate * m for o, m in zip(old.tolist(), mean, strict=True)]
        length = math.sqrt(math.fsum(x * x for x in moved))
        out.append(np.array([x / length for x in moved], dtype=np.float32))
    return out


@given(st.integers(0, 300), st.integers(0, 20), st.integers(1, 5), st.floats(0, 0.99))
def test_an_update_equals_a_plain_loop(seed: int, size: int, k: int, rate: float) -> None:
    state = OnlineClusters(unit(k, 4, seed + 1), np.arange(k), 3)
    vectors = unit(size, 4, seed)
    assign = np.random.default_rng(seed).integers(0, k, size)
    found = updated(state, vectors, assign, rate)
    assert found.centroids == pytest.approx(
        np.stack(plain_update(state, vectors, assign.tolist(), rate)), abs=2e-6
    )
    assert np.linalg.norm(found.centroids, axis=1) == pytest.approx([1.0] * k, abs=1e-6)
    assert found.generation == 4
    assert found.counts.tolist() == [c + int((assign == c).sum()) for c in range(k)]
    order = np.random.default_rng(seed + 2).permutation(size)
    turned = updated(state, vectors[order], assign[order], rate)
    assert turned.centroids.tobytes() == found.centroids.tobytes()
    empty = [c for c in range(k) if c not in assign]
    assert np.array_equal(found.centroids[empty], state.centroids[empty])


def test_the_mean_counts_and_not_the_sum() -> None:
    state = OnlineClusters(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.int64))
    many = np.tile(np.array([[0.0, 1.0]], dtype=np.float32), (100, 1))
    found = updated(state, many, np.zeros(100, dtype=np.int64), 0.5)
    assert found.centroids == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0, 1]]), abs=1e-6)
    # members that cancel the centroid out leave it where it is
    against = updated(state, -state.centroids, np.array([0, 1]), 0.5)
    assert np.array_equal(against.centroids, state.centroids)
    assert against.counts.tolist() == [1, 1]


def test_two_clusters_at_a_right_angle_are_followed() -> None:
    vectors = np.concatenate((np.tile([[1, 0]], (4, 1)), np.tile([[0, 1]], (4, 1))))
    state = start(vectors.astype(np.float32), hashes(8), 2, 0)
    own, second = second_nearest(state.clusters, vectors.astype(np.float32))
    assert len(set(own[:4].tolist())) == len(set(own[4:].tolist())) == 1
    assert np.array_equal(second, 1 - own)
    for _ in range(3):
        assign = nearest_clusters(state.clusters, vectors.astype(np.float32), 1)[:, 0]
        state = updated(state, vectors.astype(np.float32), assign, 0.1)
    assert (state.generation, state.counts.tolist()) == (3, [12, 12])
    assert sorted(state.centroids.tolist()) == [[0.0, 1.0], [1.0, 0.0]]


def test_a_generation_is_kept_under_its_content(tmp_path: Path) -> None:
    state = start(unit(9, 4, 0), hashes(9), 3, 0)
    key = write_state(state, tmp_path / "0")
    assert write_state(state, tmp_path / "again") == key
    following = updated(state, unit(9, 4, 1), np.arange(9) % 3, 0.3)
    assert write_state(following, tmp_path / "1") != key
    seen = replace(state, vectors="seen")
    assert write_state(seen, tmp_path / "seen") != key
    assert read_state(tmp_path / "seen")[0].vectors == "seen"
    back, found = read_state(tmp_path / "0")
    assert (found, back.generation) == (key, 0)
    carried = updated(back, unit(9, 4, 1), np.arange(9) % 3, 0.3)
    assert carried.centroids.tobytes() == following.centroids.tobytes()
    assert read_state(tmp_path / "1")[0].counts.tolist() == [3, 3, 3]
    (tmp_path / "0" / "counts.npy").write_bytes(b"rubbish")
    for folder in ("0", "2"):
        with pytest.raises(PyriteError, match="no whole generation of clusters"):
            read_state(tmp_path / folder)


def test_what_cannot_be_clustered_is_refused() -> None:
    vectors = unit(4, 3, 0)
    for k in (0, 5):
        with pytest.raises(PyriteError, match=rf"k={k} of a batch of 4"):
            start(vectors, hashes(4), k, 0)
    with pytest.raises(PyriteError, match="not of unit length"):
        start(vectors * 2, hashes(4), 2, 0)
    state = start(vectors, hashes(4), 2, 0)
    zeros = np.zeros(4, dtype=np.int64)
    with pytest.raises(PyriteError, match=r"rate=1\.5"):
        updated(state, vectors, zeros, 1.5)
    with pytest.raises(PyriteError, match=r"outside 0\.\.1"):
        updated(state, vectors, zeros + 2, 0.5)
    with pytest.raises(PyriteError, match="vector 2 is not of unit length"):
        updated(state, vectors * np.array([[1], [1], [3], [1]], dtype=np.float32), zeros, 0.5)

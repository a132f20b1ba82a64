from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fakes import BagOfWords, toy_dataset
from hypothesis import given
from hypothesis import strategies as st
from test_miner_mine import settings
from test_miner_online_clusters import hashes, plain_update, unit

from pyrite.core.embeddings import Embeddings
from pyrite.core.errors import PyriteError
from pyrite.core.rng import combine, stream
from pyrite.core.store import read_array
from pyrite.miner import carried_clusters
from pyrite.miner.carried_clusters import carry, first_state, keep_state, state_in
from pyrite.miner.clusters import Clusters, nearest_clusters
from pyrite.miner.mine import mine
from pyrite.miner.online_clusters import OnlineClusters

F32 = npt.NDArray[np.float32]
CAPPED = {"percent": None, "max_per_cluster": 1, "clusters": 6}


def plain_carry(state: OnlineClusters, vectors: F32, rate: float, seed: int, batch: int) -> F32:
    """By plain loops: rows are in id order already, and their hashes are `hashes`."""
    noise = combine(stream(seed, 0, 10), hashes(len(vectors))).tolist()
    order = sorted(range(len(vectors)), key=noise.__getitem__)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        near = [int(np.argmax(products(state, vectors[row]))) for row in rows]
        state = replace(state, centroids=np.stack(plain_update(state, vectors[rows], near, rate)))
    return state.centroids


def products(state: OnlineClusters, vector: F32) -> list[float]:
    return [float(np.dot(c.astype(np.float64), vector)) for c in state.centroids]


def begun(k: int, seed: int) -> OnlineClusters:
    return OnlineClusters(unit(k, 4, seed), np.zeros(k, dtype=np.int64), vectors="before")


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 6), st.floats(0.01, 0.9))
def test_a_pass_equals_a_plain_loop_and_the_file_has_no_order(
    seed: int, size: int, k: int, rate: float
) -> None:
    vectors, state, rank, ids = (
        unit(size, 4, seed),
        begun(k, seed + 1),
        np.arange(size),
        hashes(size),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carried_clusters, "BATCH", 7)
        found = carry(state, Embeddings.from_array(vectors, "now"), rank, ids, rate, seed)
        order = np.random.default_rng(seed).permutation(size)
        shuffled = Embeddings.from_array(vectors[order], "now")
        turned = carry(state, shuffled, rank[order], ids[order], rate, seed)
    expected = plain_carry(state, vectors, rate, seed, 7)
    assert found.state.centroids == pytest.approx(expected, abs=1e-5)
    assert (found.state.generation, found.state.vectors, found.moved) == (1, "now", True)
    assert found.state.counts.sum() == size
    assert turned.state.centroids.tobytes() == found.state.centroids.tobytes()
    assert np.array_equal(turned.clusters.assign, found.clusters.assign[order])
    nearest = nearest_clusters(found.state.clusters, vectors, 1)[:, 0]
    assert np.array_equal(found.clusters.assign, nearest)


def test_a_centroid_goes_half_of_the_way() -> None:
    state = OnlineClusters(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.int64))
    corpus = Embeddings.from_array(np.array([[0.8, 0.6], [0.8, -0.6]], dtype=np.float32), "now")
    found = carry(state, corpus, np.arange(2), hashes(2), 0.5, 0)
    # the mean is (0.8, 0), in the direction of the first centroid; the second has no members
    assert found.state.centroids == pytest.approx(np.eye(2), abs=1e-6)
    only = Embeddings.from_array(np.array([[0.8, 0.6]], dtype=np.float32), "now")
    found = carry(state, only, np.arange(1), hashes(1), 0.5, 0)
    expected = np.array([[0.9, 0.3], [0, 90**0.5 / 10]]) / (90**0.5 / 10)
    assert found.state.centroids == pytest.approx(expected, abs=1e-6)
    counts = {"documents": 1, "clusters": 2, "empty": 1, "largest": 1}
    assert found.as_json() == {"generation": 1, "moved": True, **counts}


def test_a_sample_moves_the_centroids_and_all_are_assigned() -> None:
    vectors, ids = unit(50, 4, 1), hashes(50)
    corpus, every_fifth = Embeddings.from_array(vectors, "now"), np.arange(10) * 5
    part = carry(begun(3, 2), corpus, np.arange(50), ids, 0.4, 0, sample=10)
    alone = Embeddings.from_array(vectors[every_fifth], "part")
    own = carry(begun(3, 2), alone, np.arange(10), ids[every_fifth], 0.4, 0)
    assert part.state.centroids.tobytes() == own.state.centroids.tobytes()
    assert (part.state.counts.sum(), part.clusters.assign.size) == (10, 50)


def test_the_same_vectors_move_nothing() -> None:
    state, ids = begun(3, 2), hashes(20)
    corpus = Embeddings.from_array(unit(20, 4, 1), "now")
    first = carry(state, corpus, np.arange(20), ids, 0.4, 0)
    assert first.state.centroids.tobytes() != state.centroids.tobytes()
    again = carry(first.state, corpus, np.arange(20), ids, 0.4, 0)
    assert again.state.centroids.tobytes() == first.state.centroids.tobytes()
    assert np.array_equal(again.state.counts, first.state.counts)
    assert (again.state.generation, again.moved) == (2, False)
    assert again.clusters.key == first.clusters.key
    # vectors without a key may be any
    unknown = Embeddings.from_array(unit(20, 4, 1))
    for _ in range(2):
        state, before = carry(state, unknown, np.arange(20), ids, 0.4, 0).state, state
        assert state.centroids.tobytes() != before.centroids.tobytes()


def test_mining_keeps_generation_0_beside_the_negatives(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "toy")
    config = settings(tmp_path, data, filters=CAPPED)
    mined = mine(config, BagOfWords())
    state = state_in(mined.folder)
    (kept,) = (config.cache / "clusters").iterdir()
    assert state is not None
    assert state.centroids.tobytes() == read_array(kept / "centroids.npy").tobytes()
    assert (state.generation, state.counts.tolist()) == (0, [0] * 6)
    assert {"clusters/centroids.npy", "clusters/counts.npy"} <= mined.manifest.data["files"].keys()
    assert mine(config, BagOfWords()).reused
    # a folder that is mined again without clusters keeps none
    mined = mine(settings(tmp_path, data, filters={"percent": None}), BagOfWords())
    assert state_in(mined.folder) is None
    assert not any(name.startswith("clusters") for name in mined.manifest.data["files"])


def test_what_is_not_of_unit_length_is_not_carried(tmp_path: Path) -> None:
    corpus = Embeddings.from_array(unit(4, 4, 0), "v")
    clusters = Clusters(unit(2, 4, 0), np.zeros(4, dtype=np.int32), spherical=False)
    assert first_state(clusters, corpus) is None
    begun = first_state(replace(clusters, spherical=True), corpus)
    assert begun is not None
    assert begun.vectors == "v"
    keep_state(begun, tmp_path)
    assert state_in(tmp_path) is not None
    (tmp_path / "clusters" / "counts.npy").write_bytes(b"rubbish")
    with pytest.raises(PyriteError, match="no whole generation of clusters"):
        state_in(tmp_path)
    keep_state(None, tmp_path)
    assert state_in(tmp_path) is None
    with pytest.raises(PyriteError, match="not of unit length"):
        carry(begun, Embeddings.from_array(2 * unit(4, 4, 0), "w"), np.arange(4), hashes(4), 0.1, 0)

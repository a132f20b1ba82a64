from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, toy_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrite.core.candidates import Reason
from pyrite.core.config import parse_config
from pyrite.core.embeddings import Embeddings
from pyrite.core.errors import PyriteError
from pyrite.core.store import read_array
from pyrite.miner.cluster_masks import (
    centroid_scores,
    cluster_cap_reasons,
    cluster_members,
    probable_false_negatives,
    second_nearest,
)
from pyrite.miner.clusters import Clusters, fit_clusters, nearest_clusters, open_clusters
from pyrite.miner.mine import MineConfig, Mined, mine

F32 = npt.NDArray[np.float32]
ROOT_HALF = np.sqrt(0.5)


def unit(rows: int, dimension: int, seed: int) -> F32:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def two_at_a_right_angle() -> Clusters:
    return Clusters(np.eye(2, dtype=np.float32), np.zeros(0, dtype=np.int32), True)


@st.composite
def blocks(
    draw: st.DrawFn,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    documents = draw(st.integers(1, 8))
    queries, width = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    assign = draw(st.lists(st.integers(0, 3), min_size=documents, max_size=documents))
    cells = queries * width
    ids = draw(st.lists(st.integers(-1, documents - 1), min_size=cells, max_size=cells))
    eligible = draw(st.lists(st.booleans(), min_size=cells, max_size=cells))
    shape = (queries, width)
    return (
        np.array(ids, dtype=np.int64).reshape(shape),
        np.array(assign, dtype=np.int32),
        np.array(eligible).reshape(shape),
    )


def cap_oracle(
    ids: list[list[int]], assign: list[int], m: int, eligible: list[list[bool]]
) -> list[list[bool]]:
    out = []
    for row, may in zip(ids, eligible, strict=True):
        seen: dict[int, int] = {}
        marks = []
        for doc, fine in zip(row, may, strict=True):
            if doc < 0 or not fine:
                marks.append(False)
                continue
            seen[assign[doc]] = seen.get(assign[doc], 0) + 1
            marks.append(seen[assign[doc]] > m)
        out.append(marks)
    return out


@given(blocks(), st.integers(1, 4))
def test_the_cap_equals_a_plain_loop(
    block: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]], m: int
) -> None:
    ids, assign, eligible = block
    found = cluster_cap_reasons(ids, assign, m, eligible)
    assert found.tolist() == cap_oracle(ids.tolist(), assign.tolist(), m, eligible.tolist())
    for at in range(len(ids)):
        alone = cluster_cap_reasons(ids[at : at + 1], assign, m, eligible[at : at + 1])
        assert np.array_equal(alone[0], found[at])
    assert not (cluster_cap_reasons(ids, assign, m + 1, eligible) & ~found).any()


def test_the_cap_on_one_query() -> None:
    assign = np.array([0, 0, 0, 1, 1], dtype=np.int32)
    ids = np.array([[2, 3, 0, 1, 4, -1]])
    every = np.ones(ids.shape, dtype=bool)
    assert cluster_cap_reasons(ids, assign, 1, every).tolist() == [
        [False, False, True, True, True, False]
    ]
    # document 2 is rejected by another rule, so document 0 takes the place
    every[0, 0] = False
    assert cluster_cap_reasons(ids, assign, 1, every).tolist() == [
        [False, False, False, True, True, False]
    ]


def test_a_cap_below_one_is_refused() -> None:
    with pytest.raises(PyriteError, match=r"filters\.max_per_cluster=0"):
        cluster_cap_reasons(
            np.zeros((1, 1), np.int64), np.zeros(1, np.int32), 0, np.ones((1, 1), bool)
        )


def test_the_hard_negative_cluster_of_a_member_is_the_other_one() -> None:
    clusters = two_at_a_right_angle()
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], dtype=np.float32)
    own, second = second_nearest(clusters, vectors)
    assert (own.tolist(), second.tolist()) == ([0, 0, 1], [1, 1, 0])
    assign = np.array([0, 0, 1], dtype=np.int32)
    ids = np.array([[0, 1, 2], [2, -1, 0], [0, 1, 2]])
    assert cluster_members(ids, assign, second).tolist() == [
        [False, False, True],
        [True, False, False],
        [True, True, False],
    ]


def test_equal_distances_go_to_the_lower_cluster() -> None:
    middle = np.array([[ROOT_HALF, ROOT_HALF]], dtype=np.float32)
    assert nearest_clusters(two_at_a_right_angle(), middle, 2).tolist() == [[0, 1]]
    twins = Clusters(np.ones((3, 2), dtype=np.float32), np.zeros(0, dtype=np.int32), False)
    assert nearest_clusters(twins, middle, 3).tolist() == [[0, 1, 2]]


def test_one_cluster_has_no_second() -> None:
    alone = Clusters(np.eye(2, dtype=np.float32)[:1], np.zeros(0, dtype=np.int32), True)
    with pytest.raises(PyriteError, match=r"set filters\.clusters to at least 2"):
        second_nearest(alone, np.eye(2, dtype=np.float32))


def test_own_cluster_and_above_the_centroid_is_a_probable_false_negative() -> None:
    clusters = two_at_a_right_angle()
    query = np.array([[0.8, 0.6]], dtype=np.float32)
    own, _ = second_nearest(clusters, query)
    level = centroid_scores(clusters, query, own)
    assert level.tolist() == [np.float32(0.8)]
    assign = np.array([0, 0, 1, 0], dtype=np.int32)
    ids = np.array([[0, 1, 2, 3, -1]])
    scores = np.array([[0.9, 0.8, 0.99, 0.1, -np.inf]], dtype=np.float32)
    flagged = probable_false_negatives(ids, scores, assign, own, level)
    assert flagged.tolist() == [[True, False, False, False, False]]


@given(st.integers(0, 10_000), st.integers(2, 7), st.booleans())
def test_nearest_equals_an_exact_loop(seed: int, k: int, spherical: bool) -> None:
    # multiples of 1/4: float64 is exact, and ties are frequent
    generator = np.random.default_rng(seed)
    centroids = (generator.integers(-3, 4, (k, 3)) / 4).astype(np.float32)
    vectors = (generator.integers(-3, 4, (9, 3)) / 4).astype(np.float32)
    found = nearest_clusters(Clusters(centroids, np.zeros(0, np.int32), spherical), vectors, 2)
    for row, vector in zip(found.tolist(), vectors.astype(np.float64), strict=True):
        near = [
            float(vector @ c) - (0.0 if spherical else float(c @ c) / 2)
            for c in centroids.astype(np.float64)
        ]
        assert row == sorted(range(k), key=lambda c: (-near[c], c))[:2]


@settings(max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 500))
def test_neither_blocks_nor_row_order_change_an_assignment(seed: int, size: int) -> None:
    vectors = unit(500, 8, seed)
    rank = np.random.default_rng(seed).permutation(500)
    whole = fit_clusters(Embeddings.from_array(vectors), rank, 12, seed)
    parts = [nearest_clusters(whole, vectors[s : s + size], 1)[:, 0] for s in range(0, 500, size)]
    assert np.array_equal(np.concatenate(parts), whole.assign)
    order = np.random.default_rng(seed + 1).permutation(500)
    turned = fit_clusters(Embeddings.from_array(vectors[order]), rank[order], 12, seed)
    assert turned.centroids.tobytes() == whole.centroids.tobytes()
    assert np.array_equal(turned.assign, whole.assign[order])


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_separate_groups_become_the_clusters(scale: float) -> None:
    middles = np.eye(4, 6, dtype=np.float32)
    owner = np.random.default_rng(5).integers(0, 4, 400)
    vectors = middles[owner] + 0.05 * unit(400, 6, 3)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * np.float32(scale)
    found = fit_clusters(Embeddings.from_array(vectors), np.arange(400), 4, 0)
    assert found.spherical == (scale == 1.0)
    assert len({(int(o), int(c)) for o, c in zip(owner, found.assign, strict=True)}) == 4
    assert found.sizes().sum() == 400
    assert found.assign.dtype == np.int32
    assert found.centroids.dtype == np.float32


def test_training_does_not_depend_on_threads_and_leaves_them_alone() -> None:
    corpus = Embeddings.from_array(unit(3000, 32, 2))
    before = faiss.omp_get_max_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            faiss.omp_set_num_threads(threads)
            found.append(fit_clusters(corpus, np.arange(3000), 40, 1, sample=1500))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert len({c.centroids.tobytes() for c in found}) == 1
    assert len({c.assign.tobytes() for c in found}) == 1
    other = fit_clusters(corpus, np.arange(3000), 40, 2, sample=1500)
    assert other.centroids.tobytes() != found[0].centroids.tobytes()


def test_fewer_distinct_vectors_than_clusters_leave_empty_ones() -> None:
    corpus = Embeddings.from_array(np.repeat(np.eye(2, dtype=np.float32), 5, axis=0))
    found = fit_clusters(corpus, np.arange(10), 5, 0)
    assert len(set(found.assign.tolist())) == 2
    assert (found.sizes() == 0).sum() == 3


@pytest.mark.parametrize("k", [0, 11])
def test_too_many_or_no_clusters_are_refused(k: int) -> None:
    with pytest.raises(PyriteError, match=rf"filters\.clusters={k}.*1\.\.10"):
        fit_clusters(Embeddings.from_array(unit(20, 4, 0)), np.arange(20), k, 0, sample=10)


def test_clusters_are_kept_and_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    corpus = Embeddings.from_array(unit(60, 4, 0), key="vectors")
    rank = np.arange(60)
    first = open_clusters(corpus, rank, 5, 0, tmp_path)
    fresh = fit_clusters(corpus, rank, 5, 0)
    assert np.array_equal(first.centroids, fresh.centroids)
    assert np.array_equal(first.assign, fresh.assign)
    (folder,) = (tmp_path / "clusters").iterdir()
    stamp = (folder / "assign.npy").stat().st_mtime_ns
    assert open_clusters(corpus, rank, 5, 0, tmp_path).key == first.key != ""
    assert (folder / "assign.npy").stat().st_mtime_ns == stamp
    (folder / "assign.npy").unlink()  # still mapped by `first`
    (folder / "assign.npy").write_bytes(b"rubbish")
    again = open_clusters(corpus, rank, 5, 0, tmp_path)
    assert (again.key, again.assign.tolist()) == (first.key, first.assign.tolist())
    shutil.rmtree(folder)
    assert open_clusters(corpus, rank, 5, 0, tmp_path).key == first.key
    assert open_clusters(corpus, rank, 5, 1, tmp_path).key != first.key
    with pytest.raises(PyriteError, match="without a key"):
        open_clusters(Embeddings.from_array(unit(9, 4, 0)), np.arange(9), 2, 0, tmp_path)


def test_a_gpu_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Embeddings.from_array(unit(20, 4, 0), key="vectors")
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
    sentence = r"filters\.cluster_device=cuda .*pip install 'pyrite\[gpu\]'.*cluster_device=cpu"
    with pytest.raises(PyriteError, match=sentence):
        open_clusters(corpus, np.arange(20), 2, 0, tmp_path, device="cuda")
    assert not list(tmp_path.glob("clusters/*/*.npy"))
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(PyriteError, match=r"filters\.cluster_device=cuda but FAISS sees 0 GPUs"):
        fit_clusters(corpus, np.arange(20), 2, 0, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_a_gpu_finds_the_groups_of_the_cpu(tmp_path: Path, scale: float) -> None:
    if faiss.get_num_gpus() == 0:
        pytest.skip("FAISS sees no GPU")
    middles = np.eye(4, 6, dtype=np.float32)
    owner = np.random.default_rng(5).integers(0, 4, 4000)
    vectors = middles[owner] + 0.05 * unit(4000, 6, 3)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * np.float32(scale)
    corpus, rank = Embeddings.from_array(vectors, key="vectors"), np.arange(4000)
    there = fit_clusters(corpus, rank, 4, 0, device="cuda")
    here = fit_clusters(corpus, rank, 4, 0)
    assert there.spherical == here.spherical == (scale == 1.0)
    assert there.centroids == pytest.approx(here.centroids, abs=1e-4 * scale)
    assert np.array_equal(there.assign, here.assign)
    again = fit_clusters(corpus, rank, 4, 0, device="cuda")
    assert again.centroids.tobytes() == there.centroids.tobytes()
    kept = {open_clusters(corpus, rank, 4, 0, tmp_path, device=d).key for d in ("cpu", "cuda")}
    assert len(list((tmp_path / "clusters").iterdir())) == 2 >= len(kept)


def mined(folder: Path, name: str = "run", **changes: Any) -> Mined:
    data = folder / "data"
    if not data.exists():
        toy_dataset(data)
    sections: dict[str, Any] = {
        "name": name,
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "dataset": {"path": str(data)},
        "retrieve": {"depth": 60},
        "filters": {"max_per_cluster": 1, "clusters": 10},
        "sampler": {"name": "topk", "n": 6},
    }
    return mine(parse_config(MineConfig, {**sections, **changes}), BagOfWords())


def test_mining_keeps_the_best_of_each_cluster(tmp_path: Path) -> None:
    capped = mined(tmp_path)
    without = mined(tmp_path, "open", filters={})
    (clusters,) = (tmp_path / "cache" / "clusters").iterdir()
    (found,) = (tmp_path / "cache" / "candidates").iterdir()
    assign, ids = read_array(clusters / "assign.npy"), read_array(found / "ids.npy")
    reasons = read_array(capped.folder / "reasons.npy")
    before = read_array(without.folder / "reasons.npy")
    every = cap_oracle(ids.tolist(), assign.tolist(), 1, (before == 0).tolist())
    assert np.array_equal(reasons, before | np.where(every, np.uint16(Reason.CLUSTER), 0))
    assert capped.tally.reasons["CLUSTER"] == np.sum(every) > 0
    assert without.tally.reasons["CLUSTER"] == 0
    names = {f"d{i:04d}": int(c) for i, c in enumerate(assign)}
    for row in pq.read_table(capped.folder / "negatives.parquet").to_pylist():
        of = [names[d] for d in row["negative_ids"]]
        assert len(of) == len(set(of)) > 1


def test_capped_mining_is_the_same_for_any_block_and_again_on_reuse(tmp_path: Path) -> None:
    first = mined(tmp_path)
    assert mined(tmp_path).reused
    blocks = mined(tmp_path, "blocks", block_queries=7)
    for name in ("negatives.parquet", "reasons.npy"):
        assert (blocks.folder / name).read_bytes() == (first.folder / name).read_bytes()
    assert not mined(tmp_path, filters={"max_per_cluster": 1, "clusters": 9}).reused
    assert not mined(tmp_path, filters={"max_per_cluster": 1, "clusters": 10}, seed=1).reused


def test_more_clusters_than_documents_leave_a_finished_run_alone(tmp_path: Path) -> None:
    first = mined(tmp_path)
    with pytest.raises(
        PyriteError, match=r"filters\.clusters=121.*set filters\.clusters to 1\.\.120"
    ):
        mined(tmp_path, filters={"max_per_cluster": 1, "clusters": 121})
    assert mined(tmp_path).reused
    assert first.manifest.intact(first.folder)

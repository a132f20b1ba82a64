from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from test_indexes_flat import shuffled_ids, unit

from pyrite.core.embeddings import Embeddings
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64, IdIndex
from pyrite.indexes import ann
from pyrite.indexes.ann import AnnIndex, open_ann, training_rows
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_dense, open_exact
from pyrite.indexes.recall import measure_recall, recall_at_k, sample_queries

N = 2000
K = 10
FACTORIES = ("IVF16,Flat", "IVF16,PQ2x4", "PQ2x4", "HNSW16", "SQ8,RFlat")
CORPUS = unit(N, 16, 1)
QUERIES = unit(20, 16, 2)
RANK = IdIndex.build(shuffled_ids(N), "test").rank_N


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    yield
    faiss.omp_set_num_threads(before)


def settings(factory: str = "IVF16,Flat", **changes: Any) -> IndexConfig:
    return IndexConfig.model_validate({"backend": "faiss", "factory": factory, **changes})


def opened(cache: Path, config: IndexConfig, corpus: F32 = CORPUS, key: str = "c") -> AnnIndex:
    vectors = Embeddings.from_array(corpus, key)
    return open_ann(config, vectors, RANK[: len(corpus)].argsort().argsort(), cache, K, 1)


def exact() -> tuple[I64, F32]:
    return open_exact(IndexConfig(), Embeddings.from_array(CORPUS), RANK, 1).search(QUERIES, K)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for tests that only read: training takes time."""
    return tmp_path_factory.mktemp("indexes")


def no_build(*_: object) -> faiss.Index:
    raise AssertionError("the index was built again")


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("k", [1, K, 300])
def test_a_row_is_ordered_distinct_and_exactly_scored(shared: Path, factory: str, k: int) -> None:
    index = opened(shared, settings(factory))
    assert len(index) == N
    ids, scores = index.search(QUERIES, k)
    assert ids.shape == scores.shape == (20, k)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    for row, query in enumerate(QUERIES.astype(np.float64)):
        real = ids[row][ids[row] >= 0]
        assert (ids[row][: real.size] == real).all(), "padding stands at the end"
        assert np.isneginf(scores[row, real.size :]).all()
        assert np.unique(real).size == real.size > 0
        products = CORPUS[real].astype(np.float64) * query
        wanted = np.array([math.fsum(terms) for terms in products], dtype=np.float32)
        assert scores[row, : real.size].tobytes() == wanted.tobytes()
        order = sorted(range(real.size), key=lambda at: (-wanted[at], RANK[real[at]]))
        assert order == list(range(real.size))


def test_few_lists_leave_padding(shared: Path) -> None:
    ids, scores = opened(shared, settings(nprobe=1)).search(QUERIES, 1000)
    assert (ids == -1).any(axis=1).all()
    np.testing.assert_array_equal(ids == -1, np.isneginf(scores))


def test_all_lists_are_exact_search_byte_for_byte(shared: Path) -> None:
    expected = exact()
    for batch in (1, 7, 20):
        index = opened(shared, settings(nprobe=16))
        parts = [index.search(QUERIES[i : i + batch], K) for i in range(0, 20, batch)]
        ids, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        np.testing.assert_array_equal(ids, expected[0])
        assert scores.tobytes() == expected[1].tobytes()


def test_ties_are_settled_by_id(tmp_path: Path) -> None:
    corpus = np.repeat(unit(500, 16, 3), 4, axis=0)
    index = opened(tmp_path, settings(nprobe=16, rescore=4), corpus)
    ids, _ = index.search(corpus[:40:4], 4)
    for at, row in enumerate(ids):
        assert row.tolist() == sorted(range(4 * at, 4 * at + 4), key=lambda d: int(RANK[d]))


def test_more_lists_never_lower_recall(shared: Path) -> None:
    truth = exact()[0]
    found = [
        recall_at_k(opened(shared, settings(nprobe=n)).search(QUERIES, K)[0], truth)
        for n in (1, 2, 4, 8, 16)
    ]
    assert found == sorted(found)
    assert found[0] < found[-1] == 1


def test_more_rescoring_finds_more(shared: Path) -> None:
    truth = exact()[0]
    found = [
        recall_at_k(opened(shared, settings("PQ2x4", rescore=n)).search(QUERIES, K)[0], truth)
        for n in (1, 10, 200)
    ]
    assert found[0] < found[1] < found[2] == 1


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_finished_index_is_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factory: str
) -> None:
    first = opened(tmp_path, settings(factory)).search(QUERIES, K)
    monkeypatch.setattr(ann, "_build", no_build)
    again = opened(tmp_path, settings(factory)).search(QUERIES, K)
    np.testing.assert_array_equal(again[0], first[0])
    assert again[1].tobytes() == first[1].tobytes()


def test_how_it_is_searched_does_not_decide_what_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened(tmp_path, settings())
    opened(tmp_path, settings("HNSW16"))
    monkeypatch.setattr(ann, "_build", no_build)
    opened(tmp_path, settings(nprobe=5, rescore=7, min_recall=0.5, recall_sample=3))
    opened(tmp_path, settings(parameters="nprobe=3,"))
    opened(tmp_path, settings("HNSW16", ef_search=99))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "another corpus"),
        ({"factory": "IVF8,Flat"}, "c"),
        ({"train_size": 1000}, "c"),
    ],
)
def test_another_corpus_or_factory_is_another_index(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    opened(tmp_path, settings())
    opened(tmp_path, settings(**changes), key=key)
    assert len(list((tmp_path / "indexes").iterdir())) == 2


def test_the_beam_of_the_build_is_part_of_the_index(tmp_path: Path) -> None:
    opened(tmp_path, settings("HNSW16"))
    opened(tmp_path, settings("HNSW16", ef_construction=77))
    assert len(list((tmp_path / "indexes").iterdir())) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_index_is_built_again(tmp_path: Path, damage: str) -> None:
    first = opened(tmp_path, settings(nprobe=2)).search(QUERIES, K)
    (path,) = (tmp_path / "indexes").glob("*/index.faiss")
    whole = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        middle = len(whole) // 2
        spoiled = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes(spoiled if damage == "flip" else whole[:middle])
    again = opened(tmp_path, settings(nprobe=2)).search(QUERIES, K)
    np.testing.assert_array_equal(again[0], first[0])
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "documents", "says"),
    [
        ({"factory": "Nope7"}, N, "factory='Nope7' is not a factory string that FAISS knows"),
        ({"factory": "PQ7x4"}, N, "factory='PQ7x4'"),
        ({"factory": "IVF16,Flat"}, 10, "cannot be trained on 10 vectors; use fewer lists"),
        ({"parameters": "nope=3"}, N, "parameter 'nope=3' does not apply to factory 'IVF16,Flat'"),
        ({"parameters": "nprobe"}, N, "parameter 'nprobe' does not apply"),
        ({"parameters": "nprobe=x"}, N, "parameter 'nprobe=x' does not apply"),
        ({"ef_search": 9}, N, "parameter 'efSearch=9' does not apply to factory 'IVF16,Flat'"),
        ({"factory": "HNSW16", "nprobe": 2}, N, "parameter 'nprobe=2' does not apply"),
        ({"ef_construction": 9}, N, "parameter 'efConstruction=9' does not apply"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], documents: int, says: str
) -> None:
    with pytest.raises(PyriteError) as error:
        opened(tmp_path, settings(**changes), CORPUS[:documents])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_search_is_checked(shared: Path) -> None:
    index = opened(shared, settings())
    with pytest.raises(PyriteError, match=r"^k=2001 but the corpus has 2000 documents"):
        index.search(QUERIES, N + 1)
    with pytest.raises(PyriteError, match=r"^queries have dimension 9, the index 16;"):
        index.search(unit(2, 9, 2), 5)
    assert index.search(QUERIES[:0], 5)[0].shape == (0, 5)
    bounds = [index.memory_bytes(batch, K) for batch in (1, 10, 1000)]
    assert 0 < bounds[0] < bounds[1] < bounds[2]


def test_the_configured_index_is_opened(tmp_path: Path) -> None:
    vectors = Embeddings.from_array(CORPUS, "c")
    found = open_dense(settings(), vectors, RANK, tmp_path, K, 1)
    assert isinstance(found, AnnIndex)
    for backend in ("torch", "faiss"):
        config = IndexConfig.model_validate({"backend": backend})
        ids, scores = open_dense(config, vectors, RANK, tmp_path, K, 1).search(QUERIES, K)
        np.testing.assert_array_equal(ids, exact()[0])
        assert scores.tobytes() == exact()[1].tobytes()


def test_recall_is_the_share_of_the_true_top() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        k = int(random.integers(1, 9))
        found = np.stack([random.permutation(12)[:k] for _ in range(5)])
        true = np.stack([random.permutation(12)[:k] for _ in range(5)])
        found[random.random(found.shape) < 0.2] = -1
        hits = [
            len(set(f[f >= 0].tolist()) & set(t.tolist())) for f, t in zip(found, true, strict=True)
        ]
        assert recall_at_k(found, true) == pytest.approx(sum(hits) / (5 * k))
    nothing = np.full((2, 3), -1)
    assert recall_at_k(nothing, np.arange(6).reshape(2, 3)) == 0


@pytest.mark.parametrize(
    ("factory", "changes", "knob"),
    [
        ("IVF16,Flat", {}, "raise index.nprobe (now 1)"),
        ("IVF16,Flat", {"nprobe": 2}, "raise index.nprobe (now 2)"),
        ("HNSW4", {"ef_search": 1, "rescore": 1}, "raise index.ef_search (now 1)"),
        ("PQ2x4", {"rescore": 1}, "raise index.rescore (now 1)"),
    ],
)
def test_recall_below_the_floor_names_the_knob(
    shared: Path, factory: str, changes: dict[str, Any], knob: str
) -> None:
    config = settings(factory, min_recall=1.0, recall_sample=15, **changes)
    truth = open_exact(IndexConfig(), Embeddings.from_array(CORPUS), RANK, 1)
    with pytest.raises(PyriteError) as error:
        measure_recall(opened(shared, config), truth, Embeddings.from_array(QUERIES), config, K)
    assert f"index {factory}: recall@{K} is 0." in str(error.value)
    assert "on 15 queries, below index.min_recall=1.0; " + knob in str(error.value)


def test_recall_at_the_floor_is_good_enough(shared: Path) -> None:
    config = settings(nprobe=16, min_recall=1.0)
    truth = open_exact(IndexConfig(), Embeddings.from_array(CORPUS), RANK, 1)
    queries = Embeddings.from_array(QUERIES)
    recall = measure_recall(opened(shared, config), truth, queries, config, K)
    assert (recall.value, recall.k, recall.queries) == (1.0, K, 20)


def test_the_queries_that_recall_is_measured_on_are_spread_evenly() -> None:
    assert sample_queries(5, 200).tolist() == [0, 1, 2, 3, 4]
    assert sample_queries(1000, 3).tolist() == [0, 499, 999]
    assert sample_queries(1, 3).tolist() == [0]


def test_training_rows_are_a_fixed_ascending_sample() -> None:
    rows = training_rows(100, 5100, 300)
    assert rows.size == 300
    assert (np.diff(rows) > 0).all()
    assert rows.min() >= 100
    assert rows.max() < 5100
    np.testing.assert_array_equal(rows, training_rows(100, 5100, 300))
    assert set(rows.tolist()) < set(training_rows(100, 5100, 301).tolist())
    # no stretch of the corpus is left out or preferred
    counts = np.histogram(rows, bins=5, range=(100, 5100))[0]
    assert counts.min() > 35
    assert counts.max() < 90
    assert training_rows(3, 8, 5).tolist() == [3, 4, 5, 6, 7]
    assert training_rows(3, 8, 99).tolist() == [3, 4, 5, 6, 7]

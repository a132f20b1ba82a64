from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_indexes_flat import CORPORA, assert_same, oracle, queries_for, shuffled_ids, unit

from pyrite.core.embeddings import Embeddings
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64, IdIndex
from pyrite.indexes import dense, proposers, torch_tiles
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.flat import FlatIndex
from pyrite.indexes.proposers import FaissProposer, deep_search, faiss_knn
from pyrite.indexes.torch_tiles import TorchProposer


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiles that a small corpus fills several times over."""
    monkeypatch.setattr(torch_tiles, "_TILE_DOCS", 64)
    monkeypatch.setattr(torch_tiles, "_TILE_QUERIES", 3)
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])


def vectors_of(corpus: npt.NDArray[Any], shard_rows: int) -> Embeddings:
    starts = range(0, len(corpus), shard_rows)
    return Embeddings(tuple(corpus[i : i + shard_rows] for i in starts), shard_rows, "")


@pytest.fixture(autouse=True, params=[False, True], ids=["float32", "bfloat16"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every test holds for both number types, whatever this processor is good at."""
    half = bool(request.param)
    monkeypatch.setattr(torch_tiles, "fast_bfloat16", lambda: half)
    return half


def tiled(corpus: npt.NDArray[Any], ids: list[str], shard: int, threads: int = 1) -> FlatIndex:
    vectors = vectors_of(corpus, shard)
    return FlatIndex(vectors, IdIndex.build(ids, "test").rank_N, TorchProposer(vectors, threads))


def by_faiss(corpus: F32, ids: list[str], shard: int) -> FlatIndex:
    vectors = vectors_of(corpus, shard)
    return FlatIndex(vectors, IdIndex.build(ids, "test").rank_N, FaissProposer(vectors, 1))


@pytest.mark.parametrize("name", CORPORA)
def test_tiles_are_the_brute_force_and_faiss_byte_for_byte(name: str) -> None:
    corpus = CORPORA[name]
    queries, ids = queries_for(corpus), shuffled_ids(len(corpus))
    for k in sorted({1, min(10, len(corpus)), min(70, len(corpus)), len(corpus)}):
        expected = oracle(queries, corpus, ids, k)
        assert_same(by_faiss(corpus, ids, len(corpus)).search(queries, k), expected)
        # shards below, at and above the tile, and none that divides it
        for shard, threads in ((7, 1), (64, 1), (100, 2), (len(corpus), 1), (len(corpus), 2)):
            assert_same(tiled(corpus, ids, shard, threads).search(queries, k), expected)


@pytest.mark.parametrize("tile_docs", [1, 30, 63, 65, 100, 128, 150, 5000])
@pytest.mark.parametrize("tile_queries", [1, 4, 1000])
def test_no_width_of_tiles_changes_a_byte(
    monkeypatch: pytest.MonkeyPatch, tile_docs: int, tile_queries: int
) -> None:
    monkeypatch.setattr(torch_tiles, "_TILE_DOCS", tile_docs)
    monkeypatch.setattr(torch_tiles, "_TILE_QUERIES", tile_queries)
    for name in ("random", "copies at the border", "near copies"):
        corpus = CORPORA[name]
        queries, ids = queries_for(corpus), shuffled_ids(len(corpus))
        expected = oracle(queries, corpus, ids, 9)
        for shard in (90, len(corpus)):
            assert_same(tiled(corpus, ids, shard).search(queries, 9), expected)


@given(data=st.data(), dimension=st.integers(1, 3), shard=st.integers(1, 90))
def test_whole_numbers_that_tie_often(data: st.DataObject, dimension: int, shard: int) -> None:
    vector = st.lists(st.integers(-2, 2), min_size=dimension, max_size=dimension)
    few = data.draw(st.lists(vector, min_size=1, max_size=12))
    corpus = np.array(few * data.draw(st.integers(1, 25)), dtype=np.float32)
    queries = np.array(data.draw(st.lists(vector, min_size=1, max_size=4)), dtype=np.float32)
    k = data.draw(st.integers(1, len(corpus)))
    ids = shuffled_ids(len(corpus), data.draw(st.integers(0, 3)))
    expected = oracle(queries, corpus, ids, k)
    assert_same(tiled(corpus, ids, shard).search(queries, k), expected)
    assert_same(by_faiss(corpus, ids, shard).search(queries, k), expected)


def climbing(documents: int, dimension: int = 4) -> F32:
    """Scores for the first axis that rise along the corpus: every document beats all before."""
    corpus = unit(documents, dimension, 1) * np.float32(0.01)
    corpus[:, 0] = np.arange(1, documents + 1)
    return corpus


@pytest.mark.parametrize("documents", [50, 64, 65, 700])
@pytest.mark.parametrize("k", [1, 5, 49])
@pytest.mark.parametrize("rising", [1, 3])
def test_scores_that_rise_or_fall_along_the_corpus(documents: int, k: int, rising: int) -> None:
    corpus, ids = climbing(documents), shuffled_ids(documents)
    queries = unit(7, 4, 2) * np.float32(0.01)
    queries[:rising, 0] = 1
    for ordered in (corpus, corpus[::-1].copy()):
        for shard in (50, documents):
            found = tiled(ordered, ids, shard).search(queries, k)
            assert_same(found, oracle(queries, ordered, ids, k))


def test_a_half_precision_store_is_searched_as_the_numbers_it_holds() -> None:
    stored = unit(190, 24, 1).astype(np.float16)
    queries, ids = unit(5, 24, 2), shuffled_ids(190)
    expected = oracle(queries, stored.astype(np.float32), ids, 12)
    for shard in (40, 190):
        assert_same(tiled(stored, ids, shard).search(queries, 12), expected)


def test_nothing_left_out_is_above_the_ceiling(products: bool) -> None:
    corpus, queries = unit(300, 8, 1), unit(5, 8, 2)
    proposer = TorchProposer(vectors_of(corpus, 90), 1)
    ids, floor = proposer.propose(queries, 40)
    ceiling = proposer.ceiling(queries, floor)
    assert ((ceiling - floor) < (2e-2 if products else 2e-6)).all()
    scores = queries.astype(np.float64) @ corpus.T.astype(np.float64)
    for row in range(5):
        assert len(set(ids[row].tolist())) == 40
        assert np.delete(scores[row], ids[row]).max() <= ceiling[row]


@given(seed=st.integers(0, 50), scale=st.integers(-30, 30), dimension=st.sampled_from([1, 7, 700]))
def test_the_ceiling_covers_the_rounding_of_any_pair(seed: int, scale: int, dimension: int) -> None:
    """One document is left out; whatever it is, its true score is at most the ceiling."""
    random = np.random.default_rng(seed)
    corpus = random.standard_normal((40, dimension)).astype(np.float32) * np.float32(10.0**scale)
    queries = random.standard_normal((6, dimension)).astype(np.float32)
    proposer = TorchProposer(vectors_of(corpus, 40), 1)
    ids, floor = proposer.propose(queries, 39)
    scores = queries.astype(np.float64) @ corpus.T.astype(np.float64)
    ceiling = proposer.ceiling(queries, floor)
    for row in range(6):
        assert np.delete(scores[row], ids[row]).max() <= ceiling[row]


def test_no_queries_is_no_result() -> None:
    ids, scores = tiled(unit(60, 8, 1), shuffled_ids(60), 10).search(unit(2, 8, 2)[:0], 5)
    assert ids.shape == scores.shape == (0, 5)


class Shallow:
    """A search that returns at most `most` results, as FAISS on a GPU does."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.calls = 0

    def __call__(self, queries: F32, block: F32, k: int) -> tuple[F32, I64]:
        assert 1 <= k <= self.most
        self.calls += 1
        return faiss_knn(queries, block, k)


def assert_top(found: tuple[F32, I64], queries: F32, block: F32, k: int) -> None:
    """Distinct rows with their own scores, and no multiset of `k` scores is higher."""
    scores, rows = found
    exact = queries @ block.T
    assert rows.shape == scores.shape == (len(queries), k)
    for at in range(len(queries)):
        assert len(set(rows[at].tolist())) == k
        np.testing.assert_array_equal(exact[at, rows[at]], scores[at])
        np.testing.assert_array_equal(np.sort(scores[at]), np.sort(exact[at])[-k:])


@given(data=st.data(), max_k=st.integers(1, 12))
def test_a_shallow_search_goes_deep(data: st.DataObject, max_k: int) -> None:
    # whole numbers: the order of a sum cannot round one path away from the other
    values = st.lists(st.integers(-3, 3), min_size=1, max_size=90)
    block = np.array(data.draw(values), dtype=np.float32)[:, None]
    queries = np.array([[1], [-1], [0]], dtype=np.float32)
    k = data.draw(st.integers(1, len(block)))
    assert_top(deep_search(Shallow(max_k), queries, block, k, max_k), queries, block, k)


@pytest.mark.parametrize("first", [0, 37, 150, 200])
@pytest.mark.parametrize("max_k", [1, 7, 16])
def test_a_shallow_search_where_one_part_holds_the_whole_top(first: int, max_k: int) -> None:
    block = np.zeros((300, 1), dtype=np.float32)
    block[first : first + 100, 0] = np.arange(1, 101)
    block[290:, 0] = -1
    queries = np.array([[1.0], [-1.0]], dtype=np.float32)
    search = Shallow(max_k)
    assert_top(deep_search(search, queries, block, 60, max_k), queries, block, 60)
    assert search.calls < 2000


def test_a_proposer_with_a_shallow_search_is_still_exact() -> None:
    corpus = CORPORA["copies at the border"]
    queries, ids = queries_for(corpus), shuffled_ids(len(corpus))
    vectors = vectors_of(corpus, 100)
    proposer = FaissProposer(vectors, 1)
    proposer._search, proposer._max_k = Shallow(5), 5
    index = FlatIndex(vectors, IdIndex.build(ids, "test").rank_N, proposer)
    assert_same(index.search(queries, 11), oracle(queries, corpus, ids, 11))


@pytest.mark.parametrize(
    ("backend", "device", "says"),
    [
        ("torch", "cuda", "torch sees no CUDA device; set index.device=cpu"),
        ("faiss", "cuda:0", "pip install 'pyrite[gpu]', or set index.device=cpu"),
    ],
)
def test_a_missing_gpu_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, backend: str, device: str, says: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
    config = IndexConfig.model_validate({"backend": backend, "device": device})
    with pytest.raises(PyriteError) as error:
        dense.open_exact(config, vectors_of(unit(9, 4, 1), 9), np.arange(9))
    assert str(error.value).startswith(f"index.device={device} but ")
    assert str(error.value).endswith(says)


@pytest.mark.parametrize(
    ("device", "gpus", "says"),
    [
        ("cuda:2", 2, "FAISS sees 2 GPUs; set index.device=cpu or name one"),
        ("cuda", 0, "FAISS sees 0 GPUs; set index.device=cpu"),
        ("cuda:0,tpu:1", 2, "expected cpu, cuda or cuda:0,..."),
        ("cuda:x", 2, "expected cpu, cuda or cuda:0,..."),
        ("gpu", 2, "expected cpu, cuda or cuda:0,..."),
    ],
)
def test_a_gpu_that_faiss_does_not_see(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, says: str
) -> None:
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: gpus, raising=False)
    with pytest.raises(PyriteError) as error:
        proposers.faiss_gpus(device, "index.device")
    assert says in str(error.value)
    assert proposers.faiss_gpus("cuda:0", "index.device") == [0] if gpus else True


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(PyriteError, match=r"^index\.float16=true needs a CUDA device"):
        dense.open_exact(IndexConfig(float16=True), vectors_of(unit(9, 4, 1), 9), np.arange(9))


def test_tiles_cannot_be_approximate() -> None:
    with pytest.raises(ValueError, match="needs backend: faiss; backend: torch is exact search"):
        IndexConfig(factory="HNSW16")
    assert IndexConfig(backend="faiss").exact


@pytest.mark.parametrize("build", [tiled, by_faiss])
def test_the_memory_bound_is_positive_and_grows_with_the_batch(
    build: Callable[[F32, list[str], int], FlatIndex],
) -> None:
    index = build(unit(500, 8, 1), shuffled_ids(500), 500)
    bounds = [index.memory_bytes(batch, 10) for batch in (1, 2, 3, 10, 1000, 100_000)]
    assert bounds[0] > 0
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0]
    assert index.memory_bytes(10, 20) >= index.memory_bytes(10, 10)


def test_more_rounding_is_allowed_in_half_precision() -> None:
    vectors, queries, floor = vectors_of(unit(9, 64, 1), 9), unit(2, 64, 2), np.zeros(2, np.float32)
    full = TorchProposer(vectors, bfloat16=False)
    exact = full.ceiling(queries, floor)
    full._dtype = torch.float16
    assert (full.ceiling(queries, floor) > 3 * 2.0**-11).all()
    assert (3 * 2.0**-11 > exact).all()
    assert (exact > 64 * 2.0**-24).all()

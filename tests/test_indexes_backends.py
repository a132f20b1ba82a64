"""Backends against one another: the same bytes, also where scores tie at the border."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from test_indexes_flat import assert_same, oracle, shuffled_ids, unit, with_copies

from pyrite.core.embeddings import Embeddings
from pyrite.core.encoder import F32
from pyrite.core.ids import IdIndex
from pyrite.indexes.ann import open_ann
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_exact
from pyrite.indexes.flat import FlatIndex
from pyrite.indexes.proposers import FaissProposer
from pyrite.indexes.torch_tiles import TorchProposer

K = 10


def tied_corpus() -> tuple[F32, F32]:
    """Duplicates, single-bit neighbours, random vectors; queries whose borders fall there."""
    base = unit(1, 8, 3)
    steps = np.random.default_rng(4).integers(-1, 2, size=(80, 8)).astype(np.int32)
    near = (np.tile(base, (80, 1)).view(np.int32) + steps).view(np.float32)
    corpus = np.concatenate((with_copies(2), near, unit(300, 8, 5)))
    return corpus, np.concatenate((corpus[:20], near[:20], unit(40, 8, 6)))


def border_ties(corpus: F32, queries: F32, ids: list[str]) -> int:
    """Queries whose k-th and next score are the same float32."""
    _, scores = oracle(queries, corpus, ids, K + 1)
    return int((scores[:, K - 1] == scores[:, K]).sum())


def left_to_chance(corpus: F32, queries: F32, ids: list[str]) -> int:
    """Queries where FAISS's and torch's own top k are different sets of documents."""
    _, by_faiss = faiss.knn(queries, corpus, K, metric=faiss.METRIC_INNER_PRODUCT)
    by_torch = torch.topk(torch.from_numpy(queries) @ torch.from_numpy(corpus).T, K).indices
    pairs = zip(by_faiss.tolist(), by_torch.tolist(), strict=True)
    return sum(set(a) != set(b) for a, b in pairs)


def test_ties_at_the_border_are_counted_and_none_differs() -> None:
    corpus, queries = tied_corpus()
    ids = shuffled_ids(len(corpus))
    assert border_ties(corpus, queries, ids) >= 20
    assert left_to_chance(corpus, queries, ids) >= 10, "the plain backends no longer disagree"
    vectors = Embeddings.from_array(corpus)
    rank = IdIndex.build(ids, "test").rank_N
    expected = oracle(queries, corpus, ids, K)
    for proposer in (
        FaissProposer(vectors),
        TorchProposer(vectors, bfloat16=False),
        TorchProposer(vectors, bfloat16=True),
    ):
        assert_same(FlatIndex(vectors, rank, proposer).search(queries, K), expected)


@pytest.fixture
def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    "options", [{}, {"float16": True}, {"backend": "faiss"}], ids=["torch", "half", "faiss"]
)
def test_a_gpu_gives_the_bytes_of_the_cpu(options: dict[str, object]) -> None:
    if options.get("backend") == "faiss" and not hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this FAISS has no GPU support")
    config = IndexConfig.model_validate({"device": "cuda", **options})
    corpus, queries = tied_corpus()
    ids = shuffled_ids(len(corpus))
    index = open_exact(config, Embeddings.from_array(corpus), IdIndex.build(ids, "t").rank_N)
    for k in (1, K, 200, len(corpus)):
        assert_same(index.search(queries, k), oracle(queries, corpus, ids, k))


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_a_gpu_goes_deeper_than_2048(backend: str) -> None:
    if backend == "faiss" and not hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this FAISS has no GPU support")
    corpus, queries = unit(20_000, 32, 1), unit(9, 32, 2)
    rank, vectors = np.arange(len(corpus)), Embeddings.from_array(corpus)
    config = IndexConfig.model_validate({"device": "cuda", "backend": backend})
    found = open_exact(config, vectors, rank).search(queries, 3000)
    assert_same(found, FlatIndex(vectors, rank, TorchProposer(vectors)).search(queries, 3000))


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("factory", ["IVF64,Flat", "IVF64,PQ16"])
def test_an_approximate_index_on_a_gpu(factory: str, tmp_path: object) -> None:
    if not hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this FAISS has no GPU support")
    from pathlib import Path

    corpus, queries = unit(20_000, 32, 1), unit(50, 32, 2)
    rank, vectors = np.arange(len(corpus)), Embeddings.from_array(corpus, "gpu-test")
    config = IndexConfig.model_validate(
        {"backend": "faiss", "device": "cuda", "factory": factory, "nprobe": 64, "rescore": 8}
    )
    ids, _ = open_ann(config, vectors, rank, Path(str(tmp_path)), 10, 0).search(queries, 10)
    exact, _ = FlatIndex(vectors, rank, TorchProposer(vectors)).search(queries, 10)
    hits = sum(len(set(a) & set(b)) for a, b in zip(ids.tolist(), exact.tolist(), strict=True))
    assert hits / exact.size > 0.9

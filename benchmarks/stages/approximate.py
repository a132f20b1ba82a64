"""An IVF index, built and searched: FAISS alone beside ours, which also scores the hits exactly."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from common import Reading, measured
from retrieval import DIMENSION, THREADS, K, limit_threads, read_through, write_inputs
from stage import Stage

QUERIES, BLOCK, NPROBE = 2000, 1024, 16
FACTORY = "IVF64,Flat"


def ours(folder: Path, size: int) -> Reading:
    from pyrite.core.embeddings import Embeddings
    from pyrite.indexes.ann import open_ann
    from pyrite.indexes.config import IndexConfig

    limit_threads()
    corpus = np.load(folder / "corpus.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy", mmap_mode="r")
    read_through(folder)
    vectors = Embeddings((corpus,), len(corpus), "key")
    config = IndexConfig(backend="faiss", factory=FACTORY, nprobe=NPROBE)
    with tempfile.TemporaryDirectory(dir=folder) as cache, measured() as reading:
        index = open_ann(config, vectors, np.arange(len(corpus)), Path(cache), K)
        for start in range(0, len(queries), BLOCK):
            index.search(np.asarray(queries[start : start + BLOCK]), K)
    return reading


def by_faiss(folder: Path, size: int) -> Reading:
    import faiss

    limit_threads()
    corpus, queries = np.load(folder / "corpus.npy"), np.load(folder / "queries.npy")
    with measured() as reading:
        index = faiss.index_factory(DIMENSION, FACTORY, faiss.METRIC_INNER_PRODUCT)
        index.train(corpus)
        index.add(corpus)
        index.nprobe = NPROBE
        index.search(queries, K)
    return reading


def prepare(folder: Path, size: int) -> None:
    write_inputs(folder, min(QUERIES, size), size)


STAGE = Stage(
    "approximate search",
    "documents",
    f"{QUERIES} queries, {FACTORY}, nprobe {NPROBE}, k={K}, {THREADS} threads; ours finds 2k,"
    " scores them again exactly and writes the index to disk",
    (25_000, 50_000, 100_000),
    (4000, 6000, 8000),
    prepare,
    {"pyrite": ours, f"FAISS {FACTORY}": by_faiss},
)

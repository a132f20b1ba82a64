"""Exact search, more and more documents: FAISS's flat index beside ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import Reading, measured
from retrieval import DIMENSION, THREADS, K, limit_threads, search_ours, search_sgemm, write_inputs
from stage import Stage

QUERIES = 5000


def ours(folder: Path, size: int) -> Reading:
    limit_threads()
    return search_ours(folder)


def by_faiss(folder: Path, size: int) -> Reading:
    import faiss

    limit_threads()
    corpus, queries = np.load(folder / "corpus.npy"), np.load(folder / "queries.npy")
    with measured() as reading:
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(corpus)
        index.search(queries, K)
    return reading


def sgemm(folder: Path, size: int) -> Reading:
    limit_threads()
    return search_sgemm(folder)


CONTESTANTS = {"pyrite": ours, "FAISS IndexFlatIP": by_faiss, "one sgemm": sgemm}
FIXED = f"{DIMENSION} dimensions, k={K}, {THREADS} threads; from vectors in memory, index included"


def prepare(folder: Path, size: int) -> None:
    write_inputs(folder, min(QUERIES, size), size)


STAGE = Stage(
    "exact search, more documents",
    "documents",
    f"{QUERIES} queries, {FIXED}",
    (25_000, 50_000, 100_000),
    (1000, 2000, 4000),
    prepare,
    CONTESTANTS,
    frozenset({"one sgemm"}),
)

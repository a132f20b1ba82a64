"""Mining end to end from known vectors, more and more documents."""

from __future__ import annotations

from pathlib import Path

from common import Reading
from retrieval import DIMENSION, THREADS, K, limit_threads, mine_ours, mine_peer, write_inputs
from stage import Stage

QUERIES = 2000


def ours(folder: Path, size: int) -> Reading:
    limit_threads()
    return mine_ours(folder)


def peer(folder: Path, size: int) -> Reading:
    limit_threads()
    return mine_peer(folder, use_faiss=True)


CONTESTANTS = {"pyrite mine": ours, "sentence-transformers mine_hard_negatives + FAISS": peer}
FIXED = f"{DIMENSION} dimensions, k={K}, 3 negatives, {THREADS} threads, vectors known"


def prepare(folder: Path, size: int) -> None:
    write_inputs(folder, min(QUERIES, size // 2), size)


STAGE = Stage(
    "mine end to end, more documents",
    "documents",
    f"{QUERIES} queries, {FIXED}",
    (25_000, 50_000, 100_000),
    (1000, 2000, 4000),
    prepare,
    CONTESTANTS,
)

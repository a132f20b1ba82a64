"""Exact search, more and more queries."""

from __future__ import annotations

from pathlib import Path

from retrieval import write_inputs
from stage import Stage

from stages.search_documents import CONTESTANTS, FIXED

DOCUMENTS = 50_000


def prepare(folder: Path, size: int) -> None:
    write_inputs(folder, size, max(DOCUMENTS if size >= 2500 else 2000, size))


STAGE = Stage(
    "exact search, more queries",
    "queries",
    f"{DOCUMENTS} documents, {FIXED}",
    (2500, 5000, 10_000),
    (250, 500, 1000),
    prepare,
    CONTESTANTS,
    frozenset({"one sgemm"}),
)

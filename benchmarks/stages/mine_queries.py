"""Mining end to end from known vectors, more and more queries."""

from __future__ import annotations

from pathlib import Path

from retrieval import write_inputs
from stage import Stage

from stages.mine_documents import CONTESTANTS, FIXED

DOCUMENTS = 25_000


def prepare(folder: Path, size: int) -> None:
    write_inputs(folder, size, DOCUMENTS if size >= 2500 else 2000)


STAGE = Stage(
    "mine end to end, more queries",
    "queries",
    f"{DOCUMENTS} documents, {FIXED}",
    (2500, 5000, 10_000),
    (250, 500, 1000),
    prepare,
    CONTESTANTS,
)

"""Somebody's retrieval taken as negatives: its documents are the negatives, qrels the positives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.tables import Qrels, TextTable
from ..training_row import Record
from .by_id import IdFormat, IdRow, Named
from .format import take
from .run import judged
from .tabbed_rows import number


@dataclass(frozen=True)
class RankedRun(IdFormat):
    """Ranked lines: the id stands at `document`, the score at `score` (none: ranks alone)."""

    corpus: TextTable
    queries: TextTable
    qrels: Qrels
    name: str
    document: int
    score: int | None

    def ids(self, record: Record, where: str) -> IdRow:
        query_id: str = record["query_id"]
        positives: list[Named] = [
            (name, None) for name in judged(query_id, self.queries, self.corpus, self.qrels)
        ]
        negatives: list[Named] = [
            (
                fields[self.document],
                None if self.score is None else number(fields[self.score], where),
            )
            for fields in record["lines"]
        ]
        return IdRow(query_id, None, positives, negatives)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "lines": take(record["lines"], keep)}

    @property
    def judged_outside(self) -> bool:
        return True

"""The files beside the repaired rows: what was found about pairs, and new positives by id."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

from ...core.store import atomic_write
from ..training_row import TrainingRow
from .cascade import Cascade, Outcome
from .operations import Edit

NOTES, POSITIVES = "verdicts.jsonl", "positives.tsv"
PERSON = "person"


@dataclass(frozen=True, slots=True)
class Notes:
    """Writes a line for each pair that is not clean, in the order of the file.

    New positives go into a BEIR file of judgements where the row's own file cannot hold them.
    """

    labels: tuple[str, ...]
    pairs: IO[bytes]
    positives: IO[bytes] | None
    rows: Iterator[int] = field(default_factory=lambda: count(1))

    @classmethod
    @contextmanager
    def open(cls, folder: Path, cascade: Cascade, with_positives: bool) -> Iterator[Notes]:
        """Files that appear in `folder` when the block ends well, and not otherwise."""
        labels = tuple(stage.judge.label for stage in cascade.stages)
        with atomic_write(folder / NOTES) as pairs:
            if not with_positives:
                yield cls(labels, pairs, None)
                return
            with atomic_write(folder / POSITIVES) as positives:
                positives.write(b"query-id\tcorpus-id\tscore\n")
                yield cls(labels, pairs, positives)

    def add(self, row: TrainingRow, outcomes: Sequence[Outcome], edit: Edit) -> None:
        """Note a row's pairs, and those of its negatives that became positives."""
        number = next(self.rows)
        for at, outcome in enumerate(outcomes):
            if outcome.state != "clean":
                self.pairs.write((self._line(number, row, at, outcome) + "\n").encode())
        if self.positives is not None and not edit.dropped:
            for at in edit.promoted:
                line = f"{row.query_id}\t{row.negatives[at].id}\t1\n"
                self.positives.write(line.encode())

    def _line(self, number: int, row: TrainingRow, at: int, outcome: Outcome) -> str:
        verdict = outcome.verdict
        judge = self.labels[outcome.stage] if outcome.stage >= 0 else None
        note = {
            "row": number,
            "line": row.line,
            "query_id": row.query_id,
            "negative": at + 1,
            "doc_id": row.negatives[at].id,
            "state": outcome.state,
            "unknown": outcome.why or None,
            "stage": PERSON if verdict.by_person else judge,
            "vs_truth": verdict.vs_truth,
            "probability": verdict.probability,
            "why": verdict.why,
        }
        return json.dumps({name: value for name, value in note.items() if value is not None})

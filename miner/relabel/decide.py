"""From rows to edited records: blocks through the cascade, the operation on each row, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ...core.errors import PyriteError
from ...core.progress import progress
from ..training_file import TrainingFile
from ..training_row import Record, TrainingRow
from .cascade import Cascade, Outcome
from .config import RelabelConfig
from .formats_out import RowWriter, with_weights
from .operations import Edit, edit_of
from .ruling import is_false_negative

_OWN_BIN = 8  # rows with so many false negatives or more are counted together


@dataclass(slots=True)
class RowTally:
    """Rows read and written, why rows were dropped, what became of the negatives.

    `per_row`: rows by their number of false negatives; the last bin holds those with more too.
    """

    rows: int = 0
    pairs: int = 0
    written: int = 0
    changed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    negatives: Counter[str] = field(default_factory=Counter)
    per_row: Counter[int] = field(default_factory=Counter)

    def add(self, edit: Edit, false: int, negatives: int) -> None:
        """Count a row."""
        self.rows += 1
        self.pairs += negatives
        self.per_row[min(false, _OWN_BIN)] += 1
        if edit.dropped:
            self.dropped[edit.dropped] += 1
            self.negatives["gone_with_the_row"] += negatives
            return
        self.written += 1
        self.changed += edit.changes
        for name in ("keep", "promoted", "copies", "removed"):
            self.negatives[name] += len(getattr(edit, name))

    def as_json(self) -> dict[str, Any]:
        """The counts by name."""
        bins = {f"{n}+" if n == _OWN_BIN else str(n): c for n, c in sorted(self.per_row.items())}
        return {
            "rows": self.rows,
            "rows_written": self.written,
            "rows_changed": self.changed,
            "rows_dropped": dict(sorted(self.dropped.items())),
            "pairs": self.pairs,
            "negatives": dict(sorted(self.negatives.items())),
            "rows_by_false_negatives": bins,
        }


@dataclass(slots=True)
class Repair:
    """Streams a file's `rows` records through a cascade; `found` hears of each and its outcomes."""

    file: TrainingFile
    rows: int
    cascade: Cascade
    config: RelabelConfig
    writer: RowWriter
    found: Callable[[TrainingRow, Sequence[Outcome], Edit], None]
    tally: RowTally = field(default_factory=RowTally)

    def records(self) -> Iterator[Record]:
        """What is written, in the order of the file; one block is in memory.

        Raises StoppedError as the cascade does, PyriteError for a row that cannot be written.
        """
        entries = self.file.entries()
        with progress("judge", total=self.rows, unit="rows") as bar:
            while block := list(islice(entries, self.config.block_rows)):
                decided = self.cascade.decide([row for row, _ in block])
                for (row, record), outcomes in zip(block, decided, strict=True):
                    written = self._repaired(row, record, outcomes)
                    if written is not None:
                        yield written
                bar.update(len(block))

    def _repaired(
        self, row: TrainingRow, record: Record, outcomes: Sequence[Outcome]
    ) -> Record | None:
        false = [at for at, o in enumerate(outcomes) if o.state == "false_negative"]
        unwanted = [at for at, outcome in enumerate(outcomes) if self._goes(outcome)]
        edit = edit_of(
            row,
            self.config.operation,
            false,
            unwanted,
            self.config.max_false_negatives,
            may_be_empty=self.file.format.sides != "both",
        )
        self.tally.add(edit, len(false), len(row.negatives))
        self.found(row, outcomes, edit)
        if edit.dropped:
            return None
        written = self.writer.record(row, record, edit)
        if written is None:
            raise PyriteError(
                f"{self.file.path}:{row.line}: this row of {self.file.format.name} cannot hold what"
                f" operation={self.config.operation} makes of it; set out=tevatron, flag or parquet"
            )
        if self.config.operation == "weight":
            return with_weights(written, [self._weight(outcome) for outcome in outcomes])
        return written

    def _goes(self, outcome: Outcome) -> bool:
        """Whether a negative goes that is no false one, or not known to be."""
        if outcome.state == "unknown":
            return self.config.on_unknown == "drop"
        worse = outcome.state == "clean" and outcome.verdict.relevant is True
        return worse and self.config.on_worse == "remove"

    def _weight(self, outcome: Outcome) -> float | None:
        """P(false negative): the judge's where it has one, else its verdict; None where unknown."""
        verdict = outcome.verdict
        if verdict.probability is not None:
            return verdict.probability
        found = is_false_negative(verdict, self.cascade.counted)
        return None if outcome.state == "unknown" or found is None else float(found)

"""Files of edited rows: in the format they were read in, or in one that holds whole rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

import pyarrow as pa

from ...core.errors import PyriteError
from ..formats.layouts import JsonLines, parquet_schema, write_parquet
from ..formats.ledger import Ledger
from ..formats.packed import plain_suffix
from ..formats.run import RunFormat
from ..formats.target import Shape
from ..formats.targets_inline import PASSAGE_ROWS, FlagTarget, TevatronTarget
from ..formats.texts_out import TextsOut
from ..negatives_file import FILE
from ..training_file import TrainingFile
from ..training_row import Record, TrainingRow
from .operations import Edit, Operation, edited

Out = Literal["same", "tevatron", "flag", "parquet"]
# of each negative, beside them: the probability that it is a false one, null where unknown
WEIGHT = "false_negative"
_WEIGHTS = pa.field(WEIGHT, pa.list_(pa.float32()))


class RowWriter(Protocol):
    """Makes a record of an edited row, and a file of records."""

    @property
    def name(self) -> str:
        """Of the file."""

    def record(self, row: TrainingRow, record: Record, edit: Edit) -> Record | None:
        """What is written of a row that stays; None if the format cannot hold it."""

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path) -> None:
        """Write records for a file `out`."""


@dataclass(frozen=True, slots=True)
class SameWriter:
    """The format of the file that was read; fields that no format knows stay."""

    file: TrainingFile
    weighted: bool = False

    @property
    def name(self) -> str:
        if isinstance(self.file.format, RunFormat):
            return FILE
        packed = self.file.path.suffix if self.file.path.suffix in (".gz", ".zst") else ""
        return f"rows{plain_suffix(self.file.path)}{packed}"

    def record(self, row: TrainingRow, record: Record, edit: Edit) -> Record | None:
        if edit.promoted:
            return self.file.format.promote(record, edit.keep, edit.promoted)
        return self.file.format.prune(record, edit.keep) if edit.changes else record

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path) -> None:
        if self.weighted:
            schema = parquet_schema(self.file.path)
            known = WEIGHT in schema.names
            write_parquet(handle, records, schema if known else schema.append(_WEIGHTS))
        else:
            self.file.layout.write(handle, records, out, self.file.path)


@dataclass(frozen=True, slots=True)
class NewWriter:
    """Whole rows as `convert` writes them; parquet leaves fields that it does not know behind."""

    out: Out
    weighted: bool = False

    @property
    def name(self) -> str:
        return "rows.parquet" if self.out == "parquet" else "rows.jsonl"

    def record(self, row: TrainingRow, record: Record, edit: Edit) -> Record | None:
        after = edited(row, edit)
        if after is None:
            return None
        if not all(doc.known for doc in (*after.positives, *after.negatives)):
            raise PyriteError(
                f"line {row.line}: holds an id without a text, which out={self.out} cannot hold;"
                " name all texts, or set out=same"
            )
        return _record(after, self.out)

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path) -> None:
        if self.out == "parquet":
            weights = [_WEIGHTS] if self.weighted else []
            write_parquet(handle, records, pa.schema([*PASSAGE_ROWS, *weights]))
        else:
            JsonLines().write(handle, records, out, out)


def row_writer(file: TrainingFile, out: Out, operation: Operation) -> RowWriter:
    """The writer of a configuration; raises PyriteError if `operation` does not fit the format."""
    weighted = operation == "weight"
    ours = out == "parquet" or (out == "same" and isinstance(file.format, RunFormat))
    if weighted and not ours:
        name = file.format.name if out == "same" else out
        raise PyriteError(
            f"operation=weight: {name} has no place for a probability beside each negative; set"
            " out=parquet"
        )
    if file.format.sides == "either":
        raise PyriteError(
            f"{file.path}: {file.format.name}, where a row has no positive to compare a negative"
            " with; group the pairs of a query into one row first"
        )
    if out != "same":
        return NewWriter(out, weighted)
    if operation in ("relabel", "remove_negative"):
        _try(file, operation)
    return SameWriter(file, weighted)


def _try(file: TrainingFile, operation: Operation) -> None:
    """Raise PyriteError if the first row with negatives cannot lose or promote one."""
    for row, record in file.entries():
        if not row.negatives:
            continue
        rest = range(1, len(row.negatives))
        promotes = operation == "relabel"
        done = (
            file.format.promote(record, rest, [0]) if promotes else file.format.prune(record, rest)
        )
        if done is None:
            what = "one positive" if promotes else "a fixed number of negatives"
            raise PyriteError(
                f"{file.path}: {file.format.name}, whose rows hold {what}, so that"
                f" operation={operation} cannot be written; set out=tevatron, flag or parquet, or"
                " operation=remove_row"
            )
        return


def with_weights(record: Record, weights: Sequence[float | None]) -> Record:
    """The record with P(false negative) of each negative."""
    return {**record, WEIGHT: list(weights)}


def _record(row: TrainingRow, out: Out) -> Record:
    """The row as `convert` writes it; what it cannot hold stays behind."""
    ledger = Ledger("", f"out={out}")
    target = FlagTarget if out == "flag" else TevatronTarget
    return target(ledger, Shape(), TextsOut(ledger)).record(row)

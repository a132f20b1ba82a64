"""Training files of any known format, JSON lines or parquet, read in blocks."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import PyriteError
from ..core.json_lines import json_object
from ..core.store import atomic_write
from .negatives_file import FILE
from .training_formats import Format, guess_format
from .training_row import Record, TrainingRow
from .training_run import RunFormat

_BLOCK = 128
_ROW_GROUP = 4096


@dataclass(frozen=True)
class TrainingFile:
    """A file whose format has been guessed; every call of `rows` reads it again."""

    path: Path
    format: Format

    @property
    def parquet(self) -> bool:
        return self.path.suffix == ".parquet"

    def entries(self) -> Iterator[tuple[TrainingRow, Record]]:
        """Rows with the records they came from; raises PyriteError with the line of a fault."""
        records = _records(self.path)
        while block := list(islice(records, _BLOCK)):
            rows = self.format.parse_block(block, self.path)
            for (_, record), row in zip(block, rows, strict=True):
                yield row, record

    def rows(self) -> Iterator[TrainingRow]:
        """The rows in file order."""
        return (row for row, _ in self.entries())

    def write(self, out: Path, records: Iterable[Record]) -> None:
        """Write records to `out` atomically in this file's format, compressed if `out` is `.gz`.

        Raises PyriteError if `out` exists or its name is of the other kind of file.
        """
        self.check_out(out)
        with atomic_write(out) as handle:
            if self.parquet:
                _write_parquet(handle, records, _open_parquet(self.path).schema_arrow)
            elif out.suffix == ".gz":
                # no name and no time, so that the same rows give the same bytes
                with gzip.GzipFile("", "wb", fileobj=handle, mtime=0) as packed:
                    _write_lines(packed, records)
            else:
                _write_lines(handle, records)

    def check_out(self, out: Path) -> None:
        """Raise PyriteError if `write` would refuse `out`."""
        if out.exists():
            raise PyriteError(f"{out}: exists and is never overwritten; name another file")
        if self.parquet != (out.suffix == ".parquet"):
            kind = "a parquet file" if self.parquet else "JSON lines"
            raise PyriteError(
                f"{out}: {self.path} is {kind} and its copy is too; give it the same suffix"
            )


def open_training_file(path: Path) -> TrainingFile:
    """A training file or the folder of a mining run; the format is guessed from the first record.

    Raises PyriteError if there is no such file, no row in it, or no format that fits.
    """
    if path.is_dir():
        for inside in (path / FILE, path / "negatives" / FILE):
            if inside.is_file():
                return TrainingFile(inside, RunFormat.open(inside))
        raise PyriteError(f"{path}: no {FILE} in this folder; name a training file or a run folder")
    if not path.is_file():
        raise PyriteError(f"{path}: no such training file")
    line, first = next(_records(path), (0, None))
    if first is None:
        raise PyriteError(f"{path}: no rows; at least one is needed")
    if "negative_ids" in first and path.suffix == ".parquet":
        return TrainingFile(path, RunFormat.open(path))
    return TrainingFile(path, guess_format(first, f"{path}:{line}"))


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    return _parquet_records(path) if path.suffix == ".parquet" else json_records(path)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _parquet_records(path: Path) -> Iterator[tuple[int, Record]]:
    source = _open_parquet(path)
    line = 0
    try:
        for batch in source.iter_batches(batch_size=_BLOCK):
            for record in batch.to_pylist():
                line += 1
                yield line, record
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> PyriteError:
    return PyriteError(f"{path}: not readable as parquet ({' '.join(str(error).split())})")


def json_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Objects of a JSON-lines file with their line numbers; `.gz` is unpacked on the way.

    Raises PyriteError with the line of what is not a JSON object in UTF-8.
    """
    line = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
        try:
            for line, raw in enumerate(handle, start=1):
                if raw.strip():
                    yield line, json_object(raw, f"{path}:{line}")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise PyriteError(f"{path}:{line + 1}: not readable as gzip ({error})") from error


def _write_lines(handle: IO[bytes] | gzip.GzipFile, records: Iterable[Record]) -> None:
    for record in records:
        line = json.dumps(record, ensure_ascii=False)
        try:
            raw = line.encode()
        except UnicodeEncodeError:
            # half a surrogate pair in a field that no check reads stays as it was written
            raw = json.dumps(record).encode()
        handle.write(raw + b"\n")


def _write_parquet(handle: IO[bytes], records: Iterable[Record], schema: pa.Schema) -> None:
    left = iter(records)
    with pq.ParquetWriter(handle, schema) as writer:
        while block := list(islice(left, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(block, schema=schema))

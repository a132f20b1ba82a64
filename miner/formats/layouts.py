"""Kinds of files that hold records: JSON lines, one JSON list, an object with one, parquet."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...core.errors import PyriteError
from ...core.json_lines import json_object
from ..training_row import Record
from .json_stream import JsonStream
from .packed import numbered_lines, packing

_BLOCK = 128
_ROW_GROUP = 4096
_GROUP_BYTES = 32 << 20


class Layout(ABC):
    """How a file is cut into records; both ways stream."""

    kind: str

    @abstractmethod
    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        """Records with their lines from 1; raises PyriteError with the line of a fault."""

    @abstractmethod
    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        """Write records for a file `out`, in the manner of the file `like` they came from."""


@dataclass(frozen=True)
class JsonLines(Layout):
    """One object a line; `ascii` writes a letter as a byte, so that both count alike."""

    ascii: bool = False
    kind = "JSON lines"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        return json_records(path)

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        with packing(handle, out) as packed:
            for record in records:
                raw = json.dumps(record).encode() if self.ascii else _json(record)
                packed.write(raw + b"\n")


@dataclass(frozen=True)
class Shards(Layout):
    """JSON lines in several files, whose lines are counted on from one to the next."""

    paths: tuple[Path, ...]
    kind = "shards of JSON lines"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        records = (record for shard in self.paths for _, record in json_records(shard))
        return enumerate(records, start=1)

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        raise PyriteError(f"{like}: {self.kind} are not rewritten; use pyrite convert")


class JsonList(Layout):
    """One list of objects, as DPR's files are."""

    kind = "one JSON list"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        stream = JsonStream(path)
        yield from _objects(stream, path)
        stream.end()

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        with packing(handle, out) as packed:
            _write_list(packed, records)
            packed.write(b"\n")


@dataclass(frozen=True)
class JsonObject(Layout):
    """An object whose member `key` is the list, as NeMo's files are; the others are small.

    `passed` are the names of the others that a reading came by.
    """

    key: str = "data"
    passed: set[str] = field(default_factory=set, compare=False)
    kind = "a JSON object"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        stream = JsonStream(path)
        for name in members(stream):
            if name == self.key:
                yield from _objects(stream, path)
            else:
                self.passed.add(name)
                stream.value()
        stream.end()

    def others(self, path: Path) -> Record:
        """The members beside the list that come before it, as NeMo writes its corpus."""
        stream, found = JsonStream(path), {}
        for name in members(stream):
            if name == self.key:
                break
            found[name] = stream.value()
        return found

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        stream, first = JsonStream(like), True
        with packing(handle, out) as packed:
            for name in members(stream):
                packed.write((b"{" if first else b",\n") + _json(name) + b": ")
                first = False
                if name == self.key:
                    _write_list(packed, records)
                    for _ in stream.items():
                        pass
                else:
                    packed.write(_json(stream.value()))
            packed.write(b"}\n")


class Parquet(Layout):
    """One record a row; its number is the line."""

    kind = "a parquet file"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        source = _open_parquet(path)
        line = 0
        try:
            for batch in source.iter_batches(batch_size=_BLOCK):
                for record in batch.to_pylist():
                    line += 1
                    yield line, record
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        write_parquet(handle, records, parquet_schema(like))


def parquet_schema(path: Path) -> pa.Schema:
    """The columns of a parquet file; raises PyriteError if it cannot be read."""
    return _open_parquet(path).schema_arrow


def write_parquet(handle: IO[bytes], records: Iterable[Record], schema: pa.Schema) -> None:
    """Write records in row groups of 4096, or of 32 MiB where they are long; one is in memory.

    Where a group ends depends on the records alone.
    """
    left = iter(records)
    with pq.ParquetWriter(handle, schema) as writer:
        pending: list[pa.Table] = []
        while block := list(islice(left, _BLOCK)):
            pending.append(pa.Table.from_pylist(block, schema=schema))
            whole = sum(table.num_rows for table in pending) >= _ROW_GROUP
            if whole or sum(table.nbytes for table in pending) >= _GROUP_BYTES:
                writer.write_table(pa.concat_tables(pending).combine_chunks())
                pending = []
        if pending:
            writer.write_table(pa.concat_tables(pending).combine_chunks())


def json_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Objects of a JSON-lines file with their line numbers, unpacked on the way.

    Raises PyriteError with the line of what is not a JSON object in UTF-8.
    """
    for line, raw in numbered_lines(path):
        if raw.strip():
            yield line, json_object(raw, f"{path}:{line}")


def _objects(stream: JsonStream, path: Path) -> Iterator[tuple[int, Record]]:
    for line, item in stream.items():
        if not isinstance(item, dict):
            kind = type(item).__name__
            raise PyriteError(f"{path}:{line}: a JSON {kind}, but each item must be an object")
        yield line, item


def members(stream: JsonStream) -> Iterator[str]:
    """Names of an object's members; the caller reads each value before it asks for the next."""
    stream.take("{")
    while stream.peek() == '"':
        name = str(stream.value())
        stream.take(":")
        yield name
        if stream.peek() != ",":
            break
        stream.take(",")
    stream.take("}")


def write_object(
    handle: IO[bytes], before: Record, key: str, records: Iterable[Record], out: Path
) -> None:
    """Write one object: small members first, then the list of records under `key`."""
    with packing(handle, out) as packed:
        for at, (name, value) in enumerate(before.items()):
            packed.write((b",\n" if at else b"{") + _json(name) + b": " + _json(value))
        packed.write((b",\n" if before else b"{") + _json(key) + b": ")
        _write_list(packed, records)
        packed.write(b"}\n")


def write_members(handle: IO[bytes], members: Iterable[tuple[str, Any]], out: Path) -> None:
    """Write one object, a member a line."""
    first = True
    with packing(handle, out) as packed:
        for name, value in members:
            packed.write((b"{" if first else b",\n") + _json(name) + b": " + _json(value))
            first = False
        packed.write(b"{}\n" if first else b"}\n")


def _write_list(handle: IO[bytes], records: Iterable[Record]) -> None:
    first = True
    for record in records:
        handle.write((b"[\n" if first else b",\n") + _json(record))
        first = False
    handle.write(b"[]" if first else b"\n]")


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # half a surrogate pair in a field that no check reads stays as it was written
        return json.dumps(value).encode()


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> PyriteError:
    return PyriteError(f"{path}: not readable as parquet ({' '.join(str(error).split())})")

"""Files with one document a line or row: neighbouring records of one query make one record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from ...core.errors import PyriteError
from ..training_row import Record, score_value
from .by_id import needed_id
from .json_stream import JsonStream
from .layouts import Layout, members, write_members


@dataclass(frozen=True)
class Grouped(Layout):
    """Records of `inner` with one `key`, which is a field's name or its place: `rows`."""

    inner: Layout
    key: str | int
    kind: str

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        seen: set[str] = set()
        for query, group in groupby(self._named(path), key=lambda item: item[0]):
            rows = list(group)
            if query in seen:
                raise PyriteError(
                    f"{path}:{rows[0][1]}: query {query!r} stands in two places; sort the file so"
                    " that the lines of a query follow one another"
                )
            seen.add(query)
            yield rows[0][1], {"query_id": query, "rows": [record for _, _, record in rows]}

    def _named(self, path: Path) -> Iterator[tuple[str, int, Record]]:
        for line, record in self.inner.read(path):
            where = f"{path}:{line}"
            if isinstance(self.key, str):
                yield needed_id(record.get(self.key), self.key, where), line, record
            else:
                yield needed_id(record["fields"][self.key], "query", where), line, record

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        rows = (row for record in records for row in record["rows"])
        self.inner.write(handle, rows, out, like)


class JsonMap(Layout):
    """One object whose members are lists of ids by query, as STAR's `hard.json` is."""

    kind = "a JSON object of lists"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        for line, query, listed in _once(path):
            yield line, {"query_id": query, "hard": listed}

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        write_members(handle, ((r["query_id"], r["hard"]) for r in records), out)


class JsonRun(Layout):
    """One object of scores by document by query, as BEIR keeps a run: the record is a ranking's.

    `query_id`, and `lines` of query, document and score, the highest first; ties by id.
    """

    kind = "a JSON object of scores"
    width = 3

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        for line, query, value in _once(path):
            scores = _scores(value, query, f"{path}:{line}")
            ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
            lines = [[query, name, repr(score)] for name, score in ranked]
            yield line, {"query_id": query, "lines": lines, "scores_by_document": True}

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        found = ((r["query_id"], {d: float(s) for _, d, s in r["lines"]}) for r in records)
        write_members(handle, found, out)


def _once(path: Path) -> Iterator[tuple[int, str, Any]]:
    """The line, the name and the value of each member of an object; a name stands once."""
    stream, seen = JsonStream(path), set[str]()
    for query in members(stream):
        stream.peek()
        line = stream.line
        if query in seen:
            raise PyriteError(f"{path}:{line}: query {query!r} stands twice; mend the file")
        seen.add(query)
        yield line, query, stream.value()
    stream.end()


def _scores(value: object, query: str, where: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise PyriteError(f"{where}: query {query!r} has no object of scores by document")
    found: dict[str, float] = {}
    for name, score in value.items():
        number = score_value(score, name, where)
        if number is None or math.isnan(number):
            raise PyriteError(f"{where}: the score of {name!r} is no number; mend the file")
        found[name] = number
    return found

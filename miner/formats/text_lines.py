"""Files of plain lines: tab-separated fields, and ranked lists with one document a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from ...core.errors import PyriteError
from ..training_row import Record
from .layouts import Layout
from .packed import numbered_lines, packing


class Tabbed(Layout):
    """Tab-separated fields without quoting: the record is `fields`."""

    kind = "tab-separated lines"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        for line, text in text_lines(path):
            yield line, {"fields": text.split("\t")}

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        with packing(handle, out) as packed:
            for record in records:
                packed.write(("\t".join(record["fields"]) + "\n").encode())


@dataclass(frozen=True)
class Ranked(Layout):
    """Neighbouring lines of one query, whose id stands first: the record is `query_id`, `lines`.

    `width` fields separated by white space are in a line.
    """

    width: int
    kind = "ranked lines"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        seen: set[str] = set()
        for query, group in groupby(self._fields(path), key=lambda item: item[1][0]):
            lines = list(group)
            if query in seen:
                raise PyriteError(
                    f"{path}:{lines[0][0]}: query {query!r} stands in two places; sort the file so"
                    " that the lines of a query follow one another"
                )
            seen.add(query)
            yield lines[0][0], {"query_id": query, "lines": [fields for _, fields in lines]}

    def _fields(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        for line, text in text_lines(path):
            fields = text.split()
            if len(fields) != self.width:
                raise PyriteError(f"{path}:{line}: {len(fields)} fields, expected {self.width}")
            yield line, fields

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        between = " " if self.width == 6 else "\t"
        with packing(handle, out) as packed:
            for record in records:
                for fields in record["lines"]:
                    packed.write((between.join(fields) + "\n").encode())


class Questions(Layout):
    """DPR's `*.qa.csv`: a question and its answers, quoted as a spreadsheet does: `fields`."""

    kind = "questions and answers"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        # a quoted field may hold line breaks, which then are part of it
        rows = csv.reader((text + "\n" for _, text in _lines(path)), delimiter="\t")
        try:
            for fields in rows:
                if fields:
                    yield rows.line_num, {"fields": fields}
        except csv.Error as error:
            where = f"{path}:{rows.line_num}"
            raise PyriteError(
                f"{where}: not readable as fields ({error}); mend the line"
            ) from error

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        with packing(handle, out) as packed:
            for record in records:
                line = io.StringIO()
                csv.writer(line, delimiter="\t", lineterminator="\n").writerow(record["fields"])
                packed.write(line.getvalue().encode())


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of UTF-8 that are not blank, without their ends, with their numbers."""
    return ((line, text) for line, text in _lines(path) if text.strip())


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for line, raw in numbered_lines(path):
        try:
            yield line, raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise PyriteError(f"{path}:{line}: not UTF-8 ({error}); mend the line") from error

"""Rows that name documents by id; a block's texts are looked up together."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import PyriteError
from ...core.ids import I64
from ...core.tables import TextTable
from ..training_row import Doc, Record, TrainingRow, id_value, list_field, score_value
from .format import Format

Named = tuple[str, float | None]


@dataclass(frozen=True, slots=True)
class IdRow:
    """A row before its texts are known: ids with scores; `query` is None where only its id is.

    `extra` is the row's; `beside` is that of each negative and `by_positive` that of each
    positive, or empty.
    """

    query_id: str | None
    query: str | None
    positives: list[Named]
    negatives: list[Named]
    extra: Record = field(default_factory=dict)
    beside: Sequence[Record] = ()
    by_positive: Sequence[Record] = ()


class IdFormat(Format):
    """A format whose documents are ids of `corpus`, and whose queries may be ids of `queries`."""

    corpus: TextTable
    queries: TextTable | None

    @property
    def texts(self) -> TextTable:
        """Where the documents' texts are."""
        return self.corpus

    @abstractmethod
    def ids(self, record: Record, where: str) -> IdRow:
        """The ids of a record; raises PyriteError for a malformed field."""

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        """One row; `parse_block` looks up many at once."""
        return next(self._rows([(line, self.ids(record, where))]))

    def parse_block(self, block: Sequence[tuple[int, Record]], path: Path) -> Iterator[TrainingRow]:
        return self._rows([(line, self.ids(record, f"{path}:{line}")) for line, record in block])

    def _rows(self, block: Sequence[tuple[int, IdRow]]) -> Iterator[TrainingRow]:
        documents = _Found.of(
            self.texts, [name for _, row in block for name, _ in (*row.positives, *row.negatives)]
        )
        asked = [row.query_id or "" for _, row in block if row.query is None]
        if asked and self.queries is None:
            raise ValueError("query ids without a table of queries")
        queries = None if self.queries is None else _Found.of(self.queries, asked)
        for line, row in block:
            positives, negatives = (
                tuple(
                    documents.doc(*named, extra)
                    for named, extra in zip(docs, beside or [{}] * len(docs), strict=True)
                )
                for docs, beside in (
                    (row.positives, row.by_positive),
                    (row.negatives, row.beside),
                )
            )
            query = row.query
            if query is None and queries is not None:
                query = queries.text(row.query_id or "")
            known = query is not None
            yield TrainingRow(
                line, row.query_id, query or "", positives, negatives, known, row.extra
            )


@dataclass(frozen=True, slots=True)
class _Found:
    rows: dict[str, int]
    texts: dict[int, str]
    titles: dict[int, str]

    @classmethod
    def of(cls, table: TextTable, names: Sequence[str]) -> _Found:
        distinct = list(dict.fromkeys(names))
        rows: I64 = table.ids.find(distinct)
        wanted = np.unique(rows[rows >= 0])
        texts = dict(zip(wanted.tolist(), table.texts(wanted), strict=True))
        titles = dict(zip(wanted.tolist(), table.titles(wanted), strict=True))
        return cls(dict(zip(distinct, rows.tolist(), strict=True)), texts, titles)

    def text(self, name: str) -> str | None:
        return self.texts.get(self.rows[name])

    def doc(self, name: str, score: float | None, extra: Record | None = None) -> Doc:
        text, title = self.text(name), self.titles.get(self.rows[name], "")
        return Doc(name, title, text or "", score, text is not None, extra or {})


def id_list(record: Record, key: str, where: str) -> list[str]:
    """A list of ids; null is none of them."""
    return [needed_id(value, key, where) for value in written_list(record, key, where)]


def needed_id(value: Any, key: str, where: str) -> str:
    """An id; raises PyriteError where there is none."""
    name = id_value(value, key, where)
    if not name:
        raise PyriteError(f"{where}: field {key!r} holds no id; every document needs one")
    return name


def written_list(record: Record, key: str, where: str) -> list[Any]:
    """A list, or a string that spells one in brackets, as tables of ids are often stored."""
    value = record.get(key)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise PyriteError(f"{where}: field {key!r} spells no list ({error})") from error
        return list_field({key: value}, key, where)
    return list_field(record, key, where)


def unscored(names: Sequence[str]) -> list[Named]:
    """Ids of a file that has no scores."""
    return [(name, None) for name in names]


def with_scores(names: Sequence[str], scores: Sequence[Any], where: str) -> list[Named]:
    """Ids with their scores; raises PyriteError where the numbers of both differ."""
    if len(names) != len(scores):
        raise PyriteError(f"{where}: field 'scores' has {len(scores)} items, expected {len(names)}")
    return [(n, score_value(s, "scores", where)) for n, s in zip(names, scores, strict=True)]

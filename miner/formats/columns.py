"""sentence-transformers' triplets and n-tuples: columns whose order says what they are."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..training_row import (
    Doc,
    Record,
    TrainingRow,
    as_text,
    parallel_field,
    rest,
    score_value,
    text_field,
)
from .format import Format, has_length, take

_NEGATIVE = re.compile(r"negative(?:_(\d+))?")
LABELS = ("scores", "score", "labels", "label")


@dataclass(frozen=True)
class Columns(Format):
    """Columns for query and positive, then `negative` or `negative_1` to `negative_n`."""

    query: str
    positive: str
    name = "sentence-transformers"

    @classmethod
    def of(cls, record: Record) -> Columns | None:
        """Columns are positional there, so odd names of the first two are allowed."""
        if not any(_NEGATIVE.fullmatch(key) for key in record):
            return None
        left = [key for key in record if not _NEGATIVE.fullmatch(key) and key not in LABELS]
        query = next((key for key in ("anchor", "query", *left[:1]) if key in left), "anchor")
        left = [key for key in left if key != query]
        positive = next((key for key in ("positive", *left[:1]) if key in left), "positive")
        return cls(query, positive)

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, self.query, where)
        positive = text_field(record, self.positive, where)
        texts = self._negatives(record, where)
        scores = self._scores(record, len(texts), where)
        negatives = (Doc(None, "", t, s) for t, s in zip(texts, scores[1:], strict=True))
        good = (Doc(None, "", positive, scores[0]),)
        known = {self.query, self.positive, *_columns(record), *_scored(record)}
        extra = rest(record, known)
        return TrainingRow(line, None, query, good, tuple(negatives), extra=extra)

    @staticmethod
    def _negatives(record: Record, where: str) -> list[str]:
        texts: list[str] = []
        for key in _columns(record):
            value = record[key]
            if value is not None:
                values = value if isinstance(value, list) else [value]
                texts.extend(as_text(text, key, where) for text in values)
        return texts

    @staticmethod
    def _scores(record: Record, negatives: int, where: str) -> list[float | None]:
        key = next(iter(_scored(record)), None)
        if key is None:
            return [None] * (negatives + 1)
        values = parallel_field(record, key, negatives + 1, where)
        return [score_value(value, key, where) for value in values]

    def prune(self, record: Record, keep: Sequence[int]) -> Record | None:
        """None for one text in each column: a row with a hole cannot be trained on."""
        columns = _columns(record)
        value = record[columns[0]]
        if len(columns) > 1 or not isinstance(value, list):
            return None
        pruned = {**record, columns[0]: take(value, keep)}
        for key in record.keys() & set(LABELS):
            if has_length(record[key], len(value) + 1):
                pruned[key] = take(record[key], [0, *(at + 1 for at in keep)])
        return pruned


def _scored(record: Record) -> list[str]:
    """The column of scores; one number for a whole row says nothing about its negatives."""
    key = next((k for k in LABELS if k in record), None)
    return [key] if key is not None and isinstance(record[key], list) else []


def _columns(record: Record) -> tuple[str, ...]:
    return _negative_columns(tuple(record))


# the records of a file have the same fields, and most of the time went into matching them
@functools.lru_cache(maxsize=16)
def _negative_columns(fields: tuple[str, ...]) -> tuple[str, ...]:
    found = [match for key in fields if (match := _NEGATIVE.fullmatch(key))]
    return tuple(match[0] for match in sorted(found, key=lambda match: int(match[1] or 0)))

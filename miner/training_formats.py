"""Formats of training files with texts: FlagEmbedding, Tevatron, sentence-transformers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import PyriteError
from .training_row import (
    Doc,
    Record,
    TrainingRow,
    as_text,
    id_value,
    list_field,
    parallel_field,
    score_value,
    text_field,
)

_NEGATIVE = re.compile(r"negative(?:_(\d+))?")
_LABELS = frozenset({"label", "labels", "score", "scores"})


class Format(ABC):
    """How rows stand in the records of a file."""

    name: str

    @abstractmethod
    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        """The row of a record; raises PyriteError for a field that is missing or malformed."""

    @abstractmethod
    def prune(self, record: Record, keep: Sequence[int]) -> Record | None:
        """A copy with the negatives at `keep` alone; None if the format cannot hold fewer."""

    def parse_block(self, block: Sequence[tuple[int, Record]], path: Path) -> Iterator[TrainingRow]:
        """The rows of numbered records."""
        for line, record in block:
            yield self.parse(record, line, f"{path}:{line}")


class FlagEmbedding(Format):
    """`query`, `pos`, `neg`, and lists beside them: `pos_scores`, `neg_scores`, ids."""

    name = "FlagEmbedding"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, "query", where)
        positives, negatives = (self._docs(record, key, where) for key in ("pos", "neg"))
        return TrainingRow(line, None, query, positives, negatives)

    @staticmethod
    def _docs(record: Record, key: str, where: str) -> tuple[Doc, ...]:
        texts = [as_text(text, key, where) for text in list_field(record, key, where)]
        ids, scores = (
            parallel_field(record, f"{key}_{what}", len(texts), where) for what in ("id", "scores")
        )
        return tuple(
            Doc(
                id_value(doc_id, f"{key}_id", where),
                "",
                text,
                score_value(score, f"{key}_scores", where),
            )
            for text, doc_id, score in zip(texts, ids, scores, strict=True)
        )

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        before = len(record["neg"])
        return {
            key: _take(value, keep)
            if (key == "neg" or key.startswith("neg_")) and _long(value, before)
            else value
            for key, value in record.items()
        }


class Tevatron(Format):
    """`query_id`, `query`, `positive_passages`, `negative_passages` with docid, title, text."""

    name = "Tevatron"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, "query", where)
        positives, negatives = (
            tuple(self._doc(passage, key, where) for passage in list_field(record, key, where))
            for key in ("positive_passages", "negative_passages")
        )
        query_id = id_value(record.get("query_id"), "query_id", where)
        return TrainingRow(line, query_id, query, positives, negatives)

    @staticmethod
    def _doc(passage: object, key: str, where: str) -> Doc:
        if not isinstance(passage, dict):
            raise PyriteError(
                f"{where}: field {key!r} holds a {type(passage).__name__}; each passage must be"
                " an object with docid and text"
            )
        where = f"{where}: {key}"
        title = "" if passage.get("title") is None else text_field(passage, "title", where)
        return Doc(
            id_value(passage.get("docid"), "docid", where),
            title,
            text_field(passage, "text", where),
            score_value(passage.get("score"), "score", where),
        )

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "negative_passages": _take(record["negative_passages"], keep)}


@dataclass(frozen=True)
class SentenceTransformers(Format):
    """Columns for query and positive, then `negative` or `negative_1` to `negative_n`."""

    query: str
    positive: str
    name = "sentence-transformers"

    @classmethod
    def of(cls, record: Record) -> SentenceTransformers | None:
        """Columns are positional there, so odd names of the first two are allowed."""
        if not any(_NEGATIVE.fullmatch(key) for key in record):
            return None
        left = [key for key in record if not _NEGATIVE.fullmatch(key) and key not in _LABELS]
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
        return TrainingRow(
            line, None, query, (Doc(None, "", positive, scores[0]),), tuple(negatives)
        )

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
        key = next((k for k in ("scores", "score", "labels", "label") if k in record), "scores")
        # one number for a whole row says nothing about its negatives
        if not isinstance(record.get(key), list):
            return [None] * (negatives + 1)
        values = parallel_field(record, key, negatives + 1, where)
        return [score_value(value, key, where) for value in values]

    def prune(self, record: Record, keep: Sequence[int]) -> Record | None:
        """None for one text in each column: a row with a hole cannot be trained on."""
        columns = _columns(record)
        value = record[columns[0]]
        if len(columns) > 1 or not isinstance(value, list):
            return None
        pruned = {**record, columns[0]: _take(value, keep)}
        for key in _LABELS & record.keys():
            if _long(record[key], len(value) + 1):
                pruned[key] = _take(record[key], [0, *(at + 1 for at in keep)])
        return pruned


def _columns(record: Record) -> list[str]:
    found = [match for key in record if (match := _NEGATIVE.fullmatch(key))]
    return [match[0] for match in sorted(found, key=lambda match: int(match[1] or 0))]


def _long(value: object, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _take(values: list[object], keep: Sequence[int]) -> list[object]:
    return [values[at] for at in keep]


def guess_format(record: Record, where: str) -> Format:
    """The format of a file by its first record; raises PyriteError where none fits."""
    keys = record.keys()
    if keys & {"positive_passages", "negative_passages"}:
        return Tevatron()
    if keys & {"pos", "neg"}:
        return FlagEmbedding()
    columns = SentenceTransformers.of(record)
    if columns is not None:
        return columns
    raise PyriteError(
        f"{where}: fields {', '.join(map(repr, record)) or 'none'} are of no format that is known"
        " here; expected query, pos, neg (FlagEmbedding), query, positive_passages,"
        " negative_passages (Tevatron) or anchor, positive, negative (sentence-transformers)"
    )

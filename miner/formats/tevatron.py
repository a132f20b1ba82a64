"""Tevatron's three files: passages in the row, a teacher's scored passages, ids of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.errors import PyriteError
from ...core.tables import TextTable
from ..training_row import (
    Doc,
    Record,
    TrainingRow,
    id_value,
    list_field,
    parallel_field,
    rest,
    score_value,
    text_field,
)
from .by_id import IdFormat, IdRow, id_list, unscored
from .format import Format, optional_text, take, titled


class Tevatron(Format):
    """`query_id`, `query`, `positive_passages`, `negative_passages` with docid, title, text."""

    name = "Tevatron"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, "query", where)
        positives, negatives = (
            passages(record, key, where) for key in ("positive_passages", "negative_passages")
        )
        query_id = id_value(record.get("query_id"), "query_id", where)
        known = ("query_id", "query", "positive_passages", "negative_passages")
        return TrainingRow(line, query_id, query, positives, negatives, extra=rest(record, known))

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "negative_passages": take(record["negative_passages"], keep)}

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        new = take(record["negative_passages"], places)
        positives = [*record["positive_passages"], *new]
        return {**self.prune(record, keep), "positive_passages": positives}


class TevatronTeacher(Format):
    """`query`, `passages` and their `scores`; the first passage is the positive."""

    name = "Tevatron teacher"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, "query", where)
        docs = passages(record, "passages", where)
        scores = parallel_field(record, "scores", len(docs), where)
        scored = tuple(
            replace(d, score=score_value(s, "scores", where))
            for d, s in zip(docs, scores, strict=True)
        )
        query_id = id_value(record.get("query_id"), "query_id", where)
        extra = rest(record, ("query_id", "query", "passages", "scores"))
        return TrainingRow(line, query_id, query, scored[:1], scored[1:], extra=extra)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        places = [0, *(at + 1 for at in keep)]
        parallel = ("passages", "scores")
        return {
            k: take(v, places) if k in parallel and v is not None else v for k, v in record.items()
        }


@dataclass(frozen=True)
class TevatronById(IdFormat):
    """`query_text`, `positive_document_ids`, `negative_document_ids`, and a corpus file."""

    corpus: TextTable
    queries: None = None
    name = "Tevatron by id"

    def ids(self, record: Record, where: str) -> IdRow:
        key = "query_text" if "query_text" in record else "query"
        positives, negatives = (
            unscored(id_list(record, f"{side}_document_ids", where))
            for side in ("positive", "negative")
        )
        query_id = id_value(record.get("query_id"), "query_id", where)
        query = optional_text(record, key, where) or ""
        ids = ("positive_document_ids", "negative_document_ids")
        extra = rest(record, ("query_id", key, *ids))
        return IdRow(query_id, query, positives, negatives, extra)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        key = "negative_document_ids"
        return {**record, key: take(record[key], keep)}

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        new = take(record["negative_document_ids"], places)
        positives = [*record["positive_document_ids"], *new]
        return {**self.prune(record, keep), "positive_document_ids": positives}


def passages(record: Record, key: str, where: str) -> tuple[Doc, ...]:
    """Objects with `text`, and perhaps `docid`, `title` and `score`."""
    return tuple(_passage(passage, key, where) for passage in list_field(record, key, where))


def _passage(passage: object, key: str, where: str) -> Doc:
    if not isinstance(passage, dict):
        raise PyriteError(
            f"{where}: field {key!r} holds a {type(passage).__name__}; each passage must be"
            " an object with docid and text"
        )
    where = f"{where}: {key}"
    score = score_value(passage.get("score"), "score", where)
    name = id_value(passage.get("docid"), "docid", where)
    return titled(passage, where, name, score, ("docid", "score"))

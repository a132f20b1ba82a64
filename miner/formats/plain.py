"""Texts in a row under other names: NeMo inline, contrastors, both forms of ms-swift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import PyriteError
from ..training_row import (
    Doc,
    Record,
    TrainingRow,
    as_text,
    id_value,
    list_field,
    parallel_field,
    rest,
    score_value,
)
from .format import Format, has_length, take, titled


@dataclass(frozen=True)
class Plain(Format):
    """A query, its positives and its negatives, each a text, a list of texts or of objects.

    `score` is the positive's, `scores` is beside the negatives.
    """

    name: str
    query: str
    positive: str
    negative: str
    score: str = ""
    scores: str = ""

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = as_text(record.get(self.query), self.query, where)
        score = score_value(record.get(self.score), self.score, where)
        positives = tuple(
            _doc(v, self.positive, where, score) for v in self._values(self.positive, record)
        )
        values = self._values(self.negative, record)
        scores = parallel_field(record, self.scores, len(values), where)
        negatives = tuple(
            _doc(value, self.negative, where, score_value(s, self.scores, where))
            for value, s in zip(values, scores, strict=True)
        )
        known = ("query_id", self.query, self.positive, self.negative, self.score, self.scores)
        name = id_value(record.get("query_id"), "query_id", where)
        return TrainingRow(line, name, query, positives, negatives, extra=rest(record, known))

    @staticmethod
    def _values(key: str, record: Record) -> list[Any]:
        value = record.get(key)
        return value if isinstance(value, list) else [value]

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        negatives = self._values(self.negative, record)
        pruned = {**record, self.negative: take(negatives, keep)}
        if has_length(record.get(self.scores), len(negatives)):
            pruned[self.scores] = take(record[self.scores], keep)
        return pruned

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record | None:
        """None for one positive alone: a reader would not expect a list there."""
        positives = record.get(self.positive)
        if not isinstance(positives, list):
            return None
        new = take(self._values(self.negative, record), places)
        return {**self.prune(record, keep), self.positive: [*positives, *new]}


def _doc(value: Any, key: str, where: str, score: float | None) -> Doc:
    if isinstance(value, dict):
        return titled(value, f"{where}: {key}", None, score)
    return Doc(None, "", as_text(value, key, where), score)


# what contrastors is told of a row with a positive and its negatives
TRIPLET: Record = {
    "objective": {"self": [], "paired": [], "triplet": [["query", "document", "negatives"]]}
}


@dataclass(frozen=True)
class Contrastors(Plain):
    """A row whose `metadata` names the fields of a triplet, which says nothing of the row."""

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        row = super().parse(record, line, where)
        if row.extra.get("metadata") != TRIPLET:
            return row
        return replace(row, extra={k: v for k, v in row.extra.items() if k != "metadata"})


class SwiftMessages(Format):
    """`messages` with the query, lists of messages with a document each; roles do not matter."""

    name = "ms-swift messages"
    _SIDES = ("positive_messages", "negative_messages")

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = _content(record.get("messages"), "messages", where)
        positives, negatives = (
            tuple(Doc(None, "", _content(v, key, where)) for v in list_field(record, key, where))
            for key in self._SIDES
        )
        name = id_value(record.get("query_id"), "query_id", where)
        extra = rest(record, ("query_id", "messages", *self._SIDES))
        return TrainingRow(line, name, query, positives, negatives, extra=extra)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "negative_messages": take(record["negative_messages"], keep)}

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        good = [*record["positive_messages"], *take(record["negative_messages"], places)]
        return {**self.prune(record, keep), "positive_messages": good}


def _content(messages: Any, key: str, where: str) -> str:
    """The text of the one message; raises PyriteError for a conversation, which is no text."""
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        raise PyriteError(
            f"{where}: field {key!r} must hold one message with a text; a system prompt or a"
            " conversation has no place in a row of query and documents"
        )
    return as_text(messages[0].get("content"), f"{key}.content", where)


NEMO_INLINE = tuple(
    Plain("NeMo inline", query, "pos_doc", "neg_doc") for query in ("query", "question")
)
CONTRASTORS = Contrastors("contrastors", "query", "document", "negatives", "pos_score", "scores")
MS_SWIFT = Plain("ms-swift", "query", "response", "rejected_response")

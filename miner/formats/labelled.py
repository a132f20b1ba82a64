"""sentence-transformers' labelled files: a pair with its label, a list with its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import PyriteError
from ..training_row import (
    Doc,
    Record,
    TrainingRow,
    as_text,
    list_field,
    parallel_field,
    score_value,
    text_field,
)
from .columns import LABELS
from .format import Format, take


@dataclass(frozen=True)
class LabelledPair(Format):
    """Two texts, and 1 or 0 in `label` or `score`: a row is one positive or one negative."""

    query: str
    other: str
    label: str
    name = "sentence-transformers labelled pair"
    sides = "either"

    @classmethod
    def of(cls, record: Record) -> LabelledPair | None:
        """The format if the record has two columns of texts and one of labels."""
        found = _columns(record)
        if found is None or isinstance(record[found[1]], list):
            return None
        return cls(*found)

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, self.query, where)
        document = (Doc(None, "", text_field(record, self.other, where)),)
        good = relevant(record.get(self.label), self.label, where)
        return TrainingRow(line, None, query, document if good else (), () if good else document)

    def prune(self, record: Record, keep: Sequence[int]) -> None:
        """None: the row is its one negative."""


@dataclass(frozen=True)
class LabelledList(Format):
    """A text and texts, with `labels` of 1 and 0, or with `scores`: the positive stands first."""

    query: str
    other: str
    label: str
    name = "sentence-transformers labelled list"

    @classmethod
    def of(cls, record: Record) -> LabelledList | None:
        """The format if the record has a text, a list of texts, and labels."""
        found = _columns(record)
        if found is None or not isinstance(record[found[1]], list):
            return None
        return cls(*found)

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query = text_field(record, self.query, where)
        texts = [as_text(t, self.other, where) for t in list_field(record, self.other, where)]
        good, scores = self._judged(record, len(texts), where)
        docs = [Doc(None, "", text, score) for text, score in zip(texts, scores, strict=True)]
        positives, negatives = (
            tuple(doc for doc, is_good in zip(docs, good, strict=True) if is_good == wanted)
            for wanted in (True, False)
        )
        return TrainingRow(line, None, query, positives, negatives)

    def _judged(
        self, record: Record, count: int, where: str
    ) -> tuple[list[bool], list[float | None]]:
        list_field(record, self.label, where)
        values = parallel_field(record, self.label, count, where)
        if self.label in ("scores", "score"):
            scores = [score_value(value, self.label, where) for value in values]
            return [at == 0 for at in range(count)], scores
        return [relevant(value, self.label, where) for value in values], [None] * count

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        good, _ = self._judged(record, len(record[self.other]), "")
        bad = [at for at, is_good in enumerate(good) if not is_good]
        kept = {bad[at] for at in keep}
        places = [at for at, is_good in enumerate(good) if is_good or at in kept]
        parallel = (self.other, self.label)
        return {key: take(v, places) if key in parallel else v for key, v in record.items()}

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record | None:
        """The texts stay where they stand and get the label 1; None where scores stand for it."""
        if self.label in ("scores", "score"):
            return None
        good, _ = self._judged(record, len(record[self.other]), "")
        bad = [at for at, is_good in enumerate(good) if not is_good]
        new, kept = {bad[at] for at in places}, {bad[at] for at in keep}
        stay = [at for at, is_good in enumerate(good) if is_good or at in new | kept]
        values = record[self.label]
        labels = [type(v)(1) if at in new else v for at, v in enumerate(values)]
        return {
            **record,
            self.other: take(record[self.other], stay),
            self.label: take(labels, stay),
        }


def relevant(value: Any, key: str, where: str) -> bool:
    """True for 1, False for 0; raises PyriteError for a grade between, which names no negative."""
    number = score_value(value, key, where) if not isinstance(value, bool) else float(value)
    if number not in (0.0, 1.0):
        raise PyriteError(
            f"{where}: field {key!r} is {value!r}; only the labels 0 and 1 name a negative and a"
            " positive, so label the pairs first"
        )
    return number == 1.0


def _columns(record: Record) -> tuple[str, str, str] | None:
    label = next((key for key in LABELS if key in record), None)
    left = [key for key in record if key != label]
    if label is None or len(left) != 2:
        return None
    query = next((key for key in ("anchor", "query") if key in left), left[0])
    left.remove(query)
    return query, left[0], label

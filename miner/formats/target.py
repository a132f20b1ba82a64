"""What every format that is written can hold, and how the rest is counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pyarrow as pa

from ..training_row import Doc, Record, TrainingRow
from .ledger import Ledger
from .texts_out import TextsOut

Negatives = Literal["any", "some", "one", "fixed"]
# a score for each document; for all of a side or none; for all of a row; for all of a file; none
Scores = Literal["each", "side", "row", "file", "none"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What must be known of all rows before the first one is written.

    `negatives` is how many a row gets in a format of fixed width; `scored` whether every document
    of the file has a score.
    """

    negatives: int = 1
    scored: bool = False


class Target(ABC):
    """The way back of `Format.parse`: records of a row, and what of it has no place in them."""

    query_ids: ClassVar[bool] = False
    document_ids: ClassVar[bool] = False
    titles: ClassVar[bool] = False
    scores: ClassVar[Scores] = "none"
    # fields besides, of the row and of each document
    extras: ClassVar[bool] = False
    document_extras: ClassVar[bool] = False
    many_positives: ClassVar[bool] = True
    # None: any number, 0 too; 1: a row for each; "one or more"; "fixed"
    negatives: ClassVar[Negatives] = "any"
    # whether documents are ids whose texts stand beside
    by_id: ClassVar[bool] = False
    # whether the positives stand beside, as judgements
    judged_outside: ClassVar[bool] = False
    # whether it is known only after all rows how a row looks
    needs_shape: ClassVar[bool] = False

    def __init__(self, ledger: Ledger, shape: Shape, texts: TextsOut) -> None:
        self.ledger = ledger
        self.shape = shape
        self.texts = texts

    @abstractmethod
    def record(self, row: TrainingRow) -> Record:
        """The record of a row that this format can hold."""

    def schema(self) -> pa.Schema:
        """Columns that a table of such records always has."""
        return pa.schema([])

    def before(self) -> Record:
        """What one object has before its list of records."""
        return {}

    def records(self, row: TrainingRow) -> Iterator[Record]:
        """The records of a row, several where a row is too large for one; none where it is short.

        Raises PyriteError for an id without a text where texts are written, and for any loss if
        the conversion is strict.
        """
        self.check_known(row)
        fitted = list(self.fitted(row))
        if fitted:
            self.count(row, fitted[0].negatives)
        self.ledger.make("rows beside the first of a query's", max(0, len(fitted) - 1))
        for part in fitted:
            yield self.record(part)

    def fitted(self, row: TrainingRow) -> Iterator[TrainingRow]:
        """The rows of this format's width that a row makes."""
        short = "" if row.positives or self.negatives == "any" else "positives"
        wanted = self.shape.negatives if self.negatives == "fixed" else 1
        if self.negatives != "any" and len(row.negatives) < wanted:
            short = "negatives" if wanted == 1 else f"{wanted} negatives"
        if not self.many_positives and not row.positives:
            short = "positives"
        if short:
            self.ledger.lose(f"row without {short}", row.line)
            return
        negatives = row.negatives
        if self.negatives == "fixed":
            self.ledger.lose(f"negative after {wanted}", row.line, len(negatives) - wanted)
            negatives = negatives[:wanted]
        groups = [negatives] if self.negatives != "one" else [(one,) for one in negatives]
        goods = [row.positives] if self.many_positives else [(one,) for one in row.positives]
        for good in goods:
            for group in groups:
                yield replace(row, positives=good, negatives=group)

    def check_known(self, row: TrainingRow) -> None:
        """Raise PyriteError for an id whose text is to be written and is not known."""
        if self.by_id and self.texts.ids_alone:
            return
        docs = (*row.positives, *row.negatives)
        unknown = next((doc.id for doc in docs if not doc.known), None)
        if not row.known:
            unknown = row.query_id
        if not row.known or unknown is not None:
            raise self.ledger.fault(row.line, f"id {unknown!r} has no text; name all texts")

    def count(self, row: TrainingRow, negatives: tuple[Doc, ...]) -> None:
        """Count what of a row has no place; `negatives` are those that are written."""
        ledger, line = self.ledger, row.line
        docs = (*row.positives, *(negatives if self.negatives == "fixed" else row.negatives))
        if not self.query_ids:
            ledger.lose("query id", line, row.query_id is not None)
        if not self.document_ids:
            ledger.lose("document id", line, sum(doc.id is not None for doc in docs))
        # a file of texts counts what it cannot hold itself
        beside = self.by_id or self.texts.documents is not None
        if not self.titles and not beside:
            ledger.lose("title apart from its text", line, sum(bool(doc.title) for doc in docs))
        if not self.extras:
            ledger.extras(row.extra, line)
        if not self.document_extras:
            for doc in docs:
                judged = {"grade"} if self.texts.judged else set()
                ledger.extras(doc.extra.keys() - judged, line, " of a document")
        kept = sum(
            len(side)
            for side in self.kept_scores(row.positives, docs[len(row.positives) :])
            if side
        )
        ledger.lose("score", line, sum(doc.score is not None for doc in docs) - kept)

    def whole(self, row: TrainingRow, record: Record) -> Record:
        """The record with the row's fields that no format knows; its own come first."""
        taken = row.extra.keys() & record.keys()
        self.ledger.extras(taken, row.line)
        return {**record, **{key: v for key, v in row.extra.items() if key not in taken}}

    def kept_scores(
        self, positives: tuple[Doc, ...], negatives: tuple[Doc, ...]
    ) -> tuple[list[float] | None, list[float] | None]:
        """The scores of both sides that are written in lists; None for no list."""
        sides = [[d.score for d in docs if d.score is not None] for docs in (positives, negatives)]
        whole = [len(s) == len(d) for s, d in zip(sides, (positives, negatives), strict=True)]
        some = any(sides)
        if self.scores == "each":
            return sides[0], sides[1]
        if self.scores == "side":
            return (
                sides[0] if some and whole[0] else None,
                sides[1] if some and whole[1] else None,
            )
        wanted = self.shape.scored if self.scores == "file" else self.scores == "row" and all(whole)
        return (sides[0], sides[1]) if wanted and some else (None, None)

    def needed_scores(self, row: TrainingRow) -> tuple[list[float], list[float]]:
        """The scores of both sides; raises PyriteError where one is missing."""
        good, bad = self.kept_scores(row.positives, row.negatives)
        if good is None or bad is None:
            raise self.ledger.fault(
                row.line,
                f"a document without a score, which {self.ledger.target} needs; name --to tevatron",
            )
        return good, bad

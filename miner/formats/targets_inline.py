"""Targets with the texts in the row: Tevatron, FlagEmbedding, DPR, NeMo and others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pyarrow as pa

from ..training_row import Doc, Record, TrainingRow
from .plain import TRIPLET
from .target import Scores, Target

_PASSAGE = pa.struct(
    [
        ("docid", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("score", pa.float64()),
    ]
)
PASSAGE_ROWS = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("positive_passages", pa.list_(_PASSAGE)),
        ("negative_passages", pa.list_(_PASSAGE)),
    ]
)


class _Open(Target):
    """An object a row, which may hold any field besides."""

    query_ids = True
    extras = True


class TevatronTarget(_Open):
    """Lossless: every other format's rows have their place here."""

    document_ids = titles = document_extras = True
    scores: ClassVar[Scores] = "each"

    def record(self, row: TrainingRow) -> Record:
        return self.whole(
            row,
            {
                "query_id": self.texts.query(row),
                "query": row.query,
                "positive_passages": [self._passage(doc, row) for doc in row.positives],
                "negative_passages": [self._passage(doc, row) for doc in row.negatives],
            },
        )

    def _passage(self, doc: Doc, row: TrainingRow) -> Record:
        return {"docid": self.texts.document(doc, row.line), **passage(doc)}

    def schema(self) -> pa.Schema:
        return PASSAGE_ROWS


def passage(doc: Doc) -> dict[str, Any]:
    """Title, text, the score if there is one, and what else is said of a document."""
    scored = {} if doc.score is None else {"score": doc.score}
    return {"title": doc.title, "text": doc.text, **scored, **doc.extra}


class TeacherTarget(_Open):
    """`passages` with `scores`, the positive first: a row for each positive."""

    titles = document_extras = document_ids = True
    many_positives = False
    scores: ClassVar[Scores] = "row"

    def record(self, row: TrainingRow) -> Record:
        docs = (*row.positives, *row.negatives)
        good, bad = self.needed_scores(row)
        named = [{} if doc.id is None else {"docid": doc.id} for doc in docs]
        passages = [
            {**name, "title": d.title, "text": d.text, **d.extra}
            for name, d in zip(named, docs, strict=True)
        ]
        record = {"query_id": self.texts.query(row), "query": row.query}
        return self.whole(row, {**record, "passages": passages, "scores": [*good, *bad]})


class FlagTarget(_Open):
    """FlagEmbedding's parallel lists; a side's scores stand there if all of it are scored."""

    document_ids = True
    scores: ClassVar[Scores] = "side"
    negatives = "some"

    def record(self, row: TrainingRow) -> Record:
        record: Record = {} if row.query_id is None else {"query_id": row.query_id}
        sides = {"pos": row.positives, "neg": row.negatives}
        record["query"] = row.query
        record |= {side: [doc.joined for doc in docs] for side, docs in sides.items()}
        scored = self.kept_scores(row.positives, row.negatives)
        for (side, _), scores in zip(sides.items(), scored, strict=True):
            if scores is not None:
                record[f"{side}_scores"] = scores
        for side, docs in sides.items():
            if any(doc.id is not None for doc in docs):
                record[f"{side}_id"] = [doc.id for doc in docs]
        return self.whole(row, record)


class DprTarget(_Open):
    """DPR's questions; negatives are hard ones unless the source says otherwise."""

    document_ids = titles = document_extras = True
    scores: ClassVar[Scores] = "each"

    def record(self, row: TrainingRow) -> Record:
        easy = [doc for doc in row.negatives if doc.extra.get("hard") is False]
        hard = [doc for doc in row.negatives if doc.extra.get("hard") is not False]
        named = {} if row.query_id is None else {"query_id": row.query_id}
        record = {
            "question": row.query,
            "answers": row.extra.get("answers", []),
            "positive_ctxs": [_context(doc) for doc in row.positives],
            "negative_ctxs": [_context(doc) for doc in easy],
            "hard_negative_ctxs": [_context(doc) for doc in hard],
        }
        others = {key: v for key, v in row.extra.items() if key != "answers"}
        self.ledger.extras(others.keys() & record.keys(), row.line)
        return {**named, **others, **record}


def _context(doc: Doc) -> dict[str, Any]:
    context = {key: value for key, value in passage(doc).items() if key != "hard"}
    return context if doc.id is None else {**context, "passage_id": doc.id}


class NemoInlineTarget(_Open):
    """`query`, `pos_doc` and `neg_doc` as lists of objects with `text`."""

    titles = document_extras = True

    def record(self, row: TrainingRow) -> Record:
        named = {} if row.query_id is None else {"query_id": row.query_id}
        sides = {"pos_doc": row.positives, "neg_doc": row.negatives}
        lists = {side: [self._object(doc) for doc in docs] for side, docs in sides.items()}
        return self.whole(row, {**named, "query": row.query, **lists})

    @staticmethod
    def _object(doc: Doc) -> dict[str, Any]:
        titled = {"title": doc.title} if doc.title else {}
        return {**titled, "text": doc.text, **doc.extra}


class ContrastorsTarget(_Open):
    """`query`, `document`, `negatives`, and their scores if all of them have one.

    `metadata` says which fields make a triplet.
    """

    many_positives = False
    negatives = "some"
    scores: ClassVar[Scores] = "row"

    def fitted(self, row: TrainingRow) -> Iterator[TrainingRow]:
        docs = (*row.positives, *row.negatives)
        if any(doc.score is None for doc in docs):
            sides = ([replace(d, score=None) for d in s] for s in (row.positives, row.negatives))
            positives, negatives = map(tuple, sides)
            row = replace(row, positives=positives, negatives=negatives)
        return super().fitted(row)

    def record(self, row: TrainingRow) -> Record:
        named = {} if row.query_id is None else {"query_id": row.query_id}
        good, bad = self.kept_scores(row.positives, row.negatives)
        scored = {} if not good else {"pos_score": good[0], "scores": bad}
        own = row.extra.get("metadata")
        objective = own if isinstance(own, dict) and "objective" in own else TRIPLET
        others = replace(row, extra={k: v for k, v in row.extra.items() if v is not objective})
        record: Record = {
            **named,
            "query": row.query,
            "document": row.positives[0].joined,
            "negatives": [doc.joined for doc in row.negatives],
            **scored,
            "metadata": objective,
        }
        return self.whole(others, record)


class SwiftTarget(_Open):
    """`query`, `response`, `rejected_response`: a row for each positive."""

    many_positives = False

    def record(self, row: TrainingRow) -> Record:
        named = {} if row.query_id is None else {"query_id": row.query_id}
        texts: Record = {"query": row.query, "response": row.positives[0].joined}
        texts["rejected_response"] = [doc.joined for doc in row.negatives]
        return self.whole(row, {**named, **texts})


class SwiftMessagesTarget(_Open):
    """`messages`, `positive_messages`, `negative_messages`: one message in each, the user's."""

    def record(self, row: TrainingRow) -> Record:
        named = {} if row.query_id is None else {"query_id": row.query_id}
        lists = {
            key: [[_message(doc.joined)] for doc in docs]
            for key, docs in (
                ("positive_messages", row.positives),
                ("negative_messages", row.negatives),
            )
        }
        return self.whole(row, {**named, "messages": [_message(row.query)], **lists})


def _message(text: str) -> Record:
    return {"role": "user", "content": text}


class TriplesTarget(Target):
    """`query<TAB>positive<TAB>negative`: a line for each pair of both."""

    many_positives = False
    negatives = "one"

    def record(self, row: TrainingRow) -> Record:
        texts = {
            "query": row.query,
            "positive": row.positives[0].joined,
            "negative": row.negatives[0].joined,
        }
        return {"fields": [self.ledger.flat(text, what, row.line) for what, text in texts.items()]}

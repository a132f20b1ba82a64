"""Targets whose documents are ids: Tevatron by id, PyLate, id triplets, NeMo, MS MARCO, runs."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

from ..training_row import Doc, Record, TrainingRow
from .ledger import Ledger
from .target import Scores, Target

_MISSING = -1.0
# a list of negatives has commas
_PARTS = ", \t\n\r"


class _ById(Target):
    query_ids = document_ids = by_id = True

    def names(self, docs: tuple[Doc, ...], row: TrainingRow) -> list[str]:
        """Ids of documents, whose texts are written beside."""
        return [self.texts.document(doc, row.line) for doc in docs]


class TevatronIdsTarget(_ById):
    """`query_text`, `positive_document_ids`, `negative_document_ids`."""

    extras = True

    def record(self, row: TrainingRow) -> Record:
        record = {
            "query_id": self.texts.query(row),
            "query_text": row.query,
            "query_image": None,
            "positive_document_ids": self.names(row.positives, row),
            "negative_document_ids": self.names(row.negatives, row),
        }
        return self.whole(row, record)


class PyLateTarget(_ById):
    """`query_id`, `document_ids`, `scores`: the positive first, -1 for a score that is missing."""

    many_positives = False
    scores: ClassVar[Scores] = "each"

    def record(self, row: TrainingRow) -> Record:
        docs = (*row.positives, *row.negatives)
        self.ledger.lose("score of -1", row.line, sum(doc.score == _MISSING for doc in docs))
        scores = [_MISSING if doc.score is None else doc.score for doc in docs]
        record = {"query_id": self.texts.query(row), "document_ids": self.names(docs, row)}
        return {**record, "scores": scores}


class IdTripletTarget(_ById):
    """`query_id`, `positive_id`, `negative_id`, as sentence-transformers resolves them."""

    many_positives = False
    negatives = "one"

    def record(self, row: TrainingRow) -> Record:
        return {
            "query_id": self.texts.query(row),
            "positive_id": self.names(row.positives, row)[0],
            "negative_id": self.names(row.negatives, row)[0],
        }


class NemoTarget(_ById):
    """`question`, `pos_doc` and `neg_doc` with `id` and `score`, under the corpus they are of."""

    extras = document_extras = True
    scores: ClassVar[Scores] = "each"
    CORPUS: ClassVar[str] = "corpus"

    def before(self) -> Record:
        return {"corpus": [{"path": self.CORPUS}]}

    def record(self, row: TrainingRow) -> Record:
        record = {
            "question_id": self.texts.query(row),
            "question": row.query,
            "corpus_id": self.CORPUS,
            "pos_doc": [self._entry(doc, row) for doc in row.positives],
            "neg_doc": [self._entry(doc, row) for doc in row.negatives],
        }
        return self.whole(row, record)

    def _entry(self, doc: Doc, row: TrainingRow) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": self.texts.document(doc, row.line)}
        return {**entry, **({} if doc.score is None else {"score": doc.score}), **doc.extra}


class IdTriplesTarget(_ById):
    """`qid<TAB>pid<TAB>pid`: a line for each pair of positive and negative."""

    many_positives = False
    negatives = "one"

    def record(self, row: TrainingRow) -> Record:
        self.texts.positives(row)
        names = [self.names(row.positives, row)[0], self.names(row.negatives, row)[0]]
        query = self.ledger.word(self.texts.query(row), "query", row.line)
        return {
            "fields": [query, *(self.ledger.word(n, "document", row.line, _PARTS) for n in names)]
        }


class RunTarget(_ById):
    """A TREC run of the negatives, whose judgements are the positives.

    A record is one row's lines; `ranked` joins those of a query and gives them their ranks.
    """

    scores: ClassVar[Scores] = "each"

    def records(self, row: TrainingRow) -> Iterator[Record]:
        self.check_known(row)
        self.count(row, row.negatives)
        self.texts.positives(row)
        # a score beside a judgement has no place
        good = sum(doc.score is not None for doc in row.positives)
        self.ledger.lose("score of a positive", row.line, good)
        yield self.record(row)

    def record(self, row: TrainingRow) -> Record:
        query = self.ledger.word(self.texts.query(row), "query", row.line)
        names = [self.ledger.word(n, "document", row.line) for n in self.names(row.negatives, row)]
        # what sorts a run must be a number
        absent = [doc.score is not None and math.isnan(doc.score) for doc in row.negatives]
        self.ledger.lose("score that is no number", row.line, sum(absent))
        scores = [None if gone else d.score for gone, d in zip(absent, row.negatives, strict=True)]
        return {"query_id": query, "ranked": list(zip(names, scores, strict=True))}


def ranked(records: Iterable[Record], scratch: Path, ledger: Ledger) -> Iterator[Record]:
    """Lines of a TREC run: the rows of a query joined wherever they stood, in a file on disk.

    Documents keep the order of the rows; one that stands twice counts once. Where any document of
    a query has no score, one over the rank stands for all of them.
    """
    with contextlib.closing(sqlite3.connect(scratch)) as store:
        store.execute("PRAGMA synchronous=OFF")
        store.execute("CREATE TABLE q (at INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        store.execute("CREATE TABLE d (q INTEGER, at INTEGER, name TEXT, score REAL)")
        _fill(store, records)
        store.execute("CREATE INDEX by_query ON d (q, at)")
        select = "SELECT q.name, d.name, d.score FROM q JOIN d ON d.q = q.at ORDER BY q.at, d.at"
        for query, group in groupby(store.execute(select), key=itemgetter(0)):
            docs: dict[str, float | None] = {}
            count = 0
            for _, name, score in group:
                count += 1
                docs.setdefault(name, score)
            ledger.make("document that a query lists twice, merged", count - len(docs))
            yield {"query_id": query, "lines": _lines(query, docs, ledger)}
    scratch.unlink()


def _fill(store: sqlite3.Connection, records: Iterable[Record]) -> None:
    at = 0
    for record in records:
        store.execute("INSERT OR IGNORE INTO q (name) VALUES (?)", [record["query_id"]])
        [(query,)] = store.execute("SELECT at FROM q WHERE name = ?", [record["query_id"]])
        for name, score in record["ranked"]:
            store.execute("INSERT INTO d VALUES (?, ?, ?, ?)", [query, at, name, score])
            at += 1


def _lines(query: str, docs: dict[str, float | None], ledger: Ledger) -> list[list[str]]:
    scored = all(score is not None for score in docs.values())
    ledger.make("score of a run, made of the rank", 0 if scored else len(docs))
    return [
        [query, "Q0", name, str(rank), repr(score if scored else 1.0 / rank), "pyrite"]
        for rank, (name, score) in enumerate(docs.items(), start=1)
    ]

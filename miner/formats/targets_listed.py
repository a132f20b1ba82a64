"""Targets that list documents for a query.

Runs, MS MARCO's top1000, lightning-ir, what Tevatron reranks, STAR and jansowa.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pyarrow as pa

from ..training_row import Doc, Record, TrainingRow
from .joined import JoinedTarget
from .target import Scores

# what parts the fields of a line
_PARTS = "\t\n\r"
_RANKING = "ranking"
_SCORE = "retrieval_score"
# what a run of Pyrite says of a negative, and how it is called there
_CALLED = {"rank": "retrieval_rank", "source": "retrieval_source"}
_COLUMNS = {
    "ranking": pa.int64(),
    "candidate_percentile": pa.float64(),
    "candidate_selected": pa.bool_(),
    "retrieval_rank": pa.int64(),
    "retrieval_offset": pa.int64(),
    "retrieval_score": pa.float64(),
    "retrieval_source": pa.string(),
}
_HELD: dict[str, tuple[type, ...]] = {
    "int64": (int,),
    "double": (int, float),
    "bool": (bool,),
    "string": (str,),
}


class RunTarget(JoinedTarget):
    """A TREC run of the negatives, whose judgements are the positives.

    Where any document of a query has no score, one over the rank stands for all of them.
    """

    by_id = True
    scores: ClassVar[Scores] = "each"

    def count(self, row: TrainingRow, negatives: tuple[Doc, ...]) -> None:
        super().count(row, negatives)
        self.count_positive_scores(row)

    def record(self, row: TrainingRow) -> Record:
        record = super().record(row)
        self.ledger.word(record["query_id"], "query", row.line)
        for name, _ in record["listed"]:
            self.ledger.word(name, "document", row.line)
        return record

    def entry(self, doc: Doc, row: TrainingRow) -> float | None:
        # what sorts a run must be a number
        absent = doc.score is not None and math.isnan(doc.score)
        self.ledger.lose("score that is no number", row.line, absent)
        return None if absent else doc.score

    def of_query(self, query: str, entries: dict[str, Any]) -> Iterator[Record]:
        scored = all(score is not None for score in entries.values())
        self.ledger.make("score of a run, made of the rank", 0 if scored else len(entries))
        lines = [
            [query, "Q0", name, str(rank), repr(score if scored else 1.0 / rank), "pyrite"]
            for rank, (name, score) in enumerate(entries.items(), start=1)
        ]
        yield {"query_id": query, "lines": lines}


class StarTarget(JoinedTarget):
    """`qid: [pid]`: one object with the negatives of each query."""

    by_id = True

    def entry(self, doc: Doc, row: TrainingRow) -> None:
        """None: an id alone."""

    def of_query(self, query: str, entries: dict[str, Any]) -> Iterator[Record]:
        yield {"query_id": query, "hard": list(entries)}


class Top1000Target(JoinedTarget):
    """`qid<TAB>pid<TAB>query<TAB>passage`, a line for each negative."""

    negatives = "some"

    def record(self, row: TrainingRow) -> Record:
        record = super().record(row)
        self.ledger.word(record["query_id"], "query", row.line, _PARTS)
        for name, _ in record["listed"]:
            self.ledger.word(name, "document", row.line, _PARTS)
        return record

    def entry(self, doc: Doc, row: TrainingRow) -> list[str]:
        texts = {"query": row.query, "text": doc.joined}
        return [self.ledger.flat(text, what, row.line) for what, text in texts.items()]

    def of_query(self, query: str, entries: dict[str, Any]) -> Iterator[Record]:
        for name, texts in entries.items():
            yield {"fields": [query, name, *texts]}


class RerankTarget(JoinedTarget):
    """`query_id`, `query`, `docid`, `title`, `text`, `score`: what Tevatron's reranker reads."""

    negatives = "some"
    titles = document_extras = True
    scores: ClassVar[Scores] = "each"

    def count(self, row: TrainingRow, negatives: tuple[Doc, ...]) -> None:
        super().count(row, negatives)
        self.count_positive_scores(row)
        judged = {"grade"} if self.texts.judged else set()
        for doc in row.positives:
            self.ledger.extras(doc.extra.keys() - judged, row.line, " of a document")

    def entry(self, doc: Doc, row: TrainingRow) -> Record:
        scored = {} if doc.score is None else {"score": doc.score}
        own: Record = {"query": row.query, "title": doc.title, "text": doc.text, **scored}
        taken = doc.extra.keys() & {*own, "query_id", "docid"}
        self.ledger.extras(taken, row.line, " of a document")
        return {**own, **{key: v for key, v in doc.extra.items() if key not in taken}}

    def of_query(self, query: str, entries: dict[str, Any]) -> Iterator[Record]:
        for name, entry in entries.items():
            text = entry.pop("query")
            yield {"query_id": query, "query": text, "docid": name, **entry}


class LightningTarget(JoinedTarget):
    """`query_id`, `query`, `doc_id`, `text`, `rank`, `score`, `relevance`: a document a line.

    Positives come first. Where not every document of a query has a rank, all get their places.
    """

    judged_outside = False
    scores: ClassVar[Scores] = "each"

    def listed(self, row: TrainingRow) -> tuple[Doc, ...]:
        return (*row.positives, *row.negatives)

    def count(self, row: TrainingRow, negatives: tuple[Doc, ...]) -> None:
        positives, bad = (
            tuple(_without(doc, known) for doc in docs)
            for docs, known in ((row.positives, ("rank", "grade")), (negatives, ("rank",)))
        )
        super().count(replace(row, positives=positives, negatives=bad), bad)

    def entry(self, doc: Doc, row: TrainingRow) -> Record:
        # one document may stand on both sides
        good = any(doc is positive for positive in row.positives)
        grade = doc.extra.get("grade", 1) if good else 0
        scored = {} if doc.score is None else {"score": doc.score}
        rank = doc.extra.get("rank")
        ranked = {"rank": rank} if isinstance(rank, int) else {}
        return {"query": row.query, "text": doc.joined, **ranked, **scored, "relevance": grade}

    def merged(self, first: Any, later: Any) -> Any:
        return later if later["relevance"] > first["relevance"] else first

    def of_query(self, query: str, entries: dict[str, Any]) -> Iterator[Record]:
        ranked = all("rank" in entry for entry in entries.values())
        self.ledger.make("rank of a run, made of the place", 0 if ranked else len(entries))
        for place, (name, entry) in enumerate(entries.items(), start=1):
            rank = entry.pop("rank", place) if ranked else place
            texts = {"query": entry.pop("query"), "doc_id": name, "text": entry.pop("text")}
            yield {"query_id": query, **texts, "rank": rank, **entry}


class JansowaTarget(JoinedTarget):
    """Rows of `negatives`: a document each, with its place and what retrieved it."""

    negatives = "some"
    by_id = True
    scores: ClassVar[Scores] = "each"

    def count(self, row: TrainingRow, negatives: tuple[Doc, ...]) -> None:
        bad = tuple(_without(doc, tuple(_columns(doc))) for doc in negatives)
        super().count(replace(row, negatives=bad), bad)
        self.count_positive_scores(row)
        graded = sum("grade" in doc.extra for doc in row.positives)
        # a positive has a place among the others, and no grade
        self.ledger.lose(
            "field 'grade' of a document", row.line, graded if self.texts.judged else 0
        )

    def entry(self, doc: Doc, row: TrainingRow) -> Record:
        scored = {} if doc.score is None else {_SCORE: doc.score}
        return {**{called: doc.extra[name] for name, called in _columns(doc).items()}, **scored}

    def of_query(self, query: str, entries: dict[str, Any]) -> Iterator[Record]:
        own = all(_RANKING in entry for entry in entries.values())
        self.ledger.make("ranking, made of the place", 0 if own else len(entries))
        for place, (name, entry) in enumerate(entries.items(), start=1):
            ranking = entry[_RANKING] if own else place
            yield {"query_id": query, "document_id": name, **entry, _RANKING: ranking}

    def schema(self) -> pa.Schema:
        names = [("query_id", pa.string()), ("document_id", pa.string())]
        return pa.schema([*names, *_COLUMNS.items()])


def _columns(doc: Doc) -> dict[str, str]:
    """Which fields of a document have a column, and its name."""
    found: dict[str, str] = {}
    for name, value in doc.extra.items():
        called = name if name in _COLUMNS else _CALLED.get(name, "")
        taken = called != name and called in doc.extra
        kind = _COLUMNS.get(called)
        if kind is None or taken or called == _SCORE:
            continue
        # True would pass for 1
        if isinstance(value, _HELD[str(kind)]) and isinstance(value, bool) == (str(kind) == "bool"):
            found[name] = called
    return found


def _without(doc: Doc, known: tuple[str, ...]) -> Doc:
    """A document without the fields that have a place."""
    return replace(doc, extra={key: v for key, v in doc.extra.items() if key not in known})

"""Targets whose documents are ids: Tevatron, PyLate, NeMo, MS MARCO's triples, ANCE, SimANS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from ..training_row import Doc, Record, TrainingRow
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


class AnceTarget(_ById):
    """`qid<TAB>pid<TAB>pid,pid`: ANCE's training data, a line for each positive."""

    many_positives = False
    negatives = "some"

    def record(self, row: TrainingRow) -> Record:
        self.texts.positives(row)
        query = self.ledger.word(self.texts.query(row), "query", row.line)
        good, *bad = (
            self.ledger.word(name, "document", row.line, _PARTS)
            for name in self.names((*row.positives, *row.negatives), row)
        )
        return {"fields": [query, good, ",".join(bad)]}


class SimansTarget(_ById):
    """`qid<TAB>query<TAB>pid score,...<TAB>pid score,...`: positives, then negatives."""

    scores: ClassVar[Scores] = "row"

    def record(self, row: TrainingRow) -> Record:
        good, bad = self.needed_scores(row)
        query = self.ledger.word(self.texts.query(row), "query", row.line)
        text = self.ledger.flat(row.query, "query", row.line)
        return {
            "fields": [
                query,
                text,
                self._pairs(row.positives, good, row),
                self._pairs(row.negatives, bad, row),
            ]
        }

    def _pairs(self, docs: tuple[Doc, ...], scores: list[float], row: TrainingRow) -> str:
        names = (
            self.ledger.word(name, "document", row.line, _PARTS) for name in self.names(docs, row)
        )
        return ",".join(f"{name} {score!r}" for name, score in zip(names, scores, strict=True))


class BySystemTarget(_ById):
    """`qid`, `pos`, and `neg` with a list for each system that found them."""

    def record(self, row: TrainingRow) -> Record:
        found: dict[str, list[str | int]] = {}
        for doc, name in zip(row.negatives, self.names(row.negatives, row), strict=True):
            for system in systems_of(doc):
                found.setdefault(system, []).append(_number(name))
        positives = [_number(name) for name in self.names(row.positives, row)]
        return {"qid": _number(self.texts.query(row)), "pos": positives, "neg": found}

    def count(self, row: TrainingRow, negatives: tuple[Doc, ...]) -> None:
        known = ("systems", "source")
        rest = tuple(
            replace(doc, extra={k: v for k, v in doc.extra.items() if k not in known})
            for doc in negatives
        )
        super().count(replace(row, negatives=rest), rest)


def systems_of(doc: Doc) -> list[str]:
    """Who found a negative: what its file says, or the source of a run."""
    systems = doc.extra.get("systems")
    if isinstance(systems, list) and systems:
        return [str(system) for system in systems]
    return [str(doc.extra.get("source", "pyrite"))]


def _number(name: str) -> str | int:
    """A whole number where the id spells one, as MS MARCO's do."""
    return int(name) if name.isascii() and name.isdigit() and str(int(name)) == name else name

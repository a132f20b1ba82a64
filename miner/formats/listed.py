"""Documents listed for a query by a retriever or a miner, with positives that stand elsewhere.

MS MARCO's top1000, lightning-ir's runs, what Tevatron reranks, STAR's negatives, jansowa's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.tables import Qrels, TextTable
from ..training_row import Doc, Record, TrainingRow, rest, score_value, text_field
from .by_id import IdFormat, IdRow, Named, id_list, needed_id, unscored
from .format import Format, take, titled
from .run import judged
from .tabbed_rows import tabbed_fields


@dataclass(frozen=True)
class Judged:
    """Positives by query id: what the user named with --qrels, and the texts of its documents."""

    corpus: TextTable
    queries: TextTable
    qrels: Qrels

    def ids(self, query_id: str) -> list[str]:
        """Ids of the positives of a query."""
        return judged(query_id, self.queries, self.corpus, self.qrels)

    def docs(self, query_id: str) -> tuple[Doc, ...]:
        """The positives of a query with their texts."""
        names = self.ids(query_id)
        texts = self.corpus.texts(self.corpus.ids.find(names))
        titles = self.corpus.titles(self.corpus.ids.find(names))
        return tuple(
            Doc(name, title, text) for name, title, text in zip(names, titles, texts, strict=True)
        )


@dataclass(frozen=True)
class Top1000(Format):
    """`qid<TAB>pid<TAB>query<TAB>passage`: BM25's best as negatives, positives from `--qrels`."""

    truth: Judged
    name = "MS MARCO top1000"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        rows = [tabbed_fields(row, 4, where) for row in record["rows"]]
        query_id: str = record["query_id"]
        negatives = tuple(Doc(name, "", text) for _, name, _, text in rows)
        return TrainingRow(line, query_id, rows[0][2], self.truth.docs(query_id), negatives)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "rows": take(record["rows"], keep)}

    @property
    def judged_outside(self) -> bool:
        return True


@dataclass(frozen=True)
class LightningIr(Format):
    """`query_id`, `query`, `doc_id`, `text`, and perhaps `score` and `relevance`, a line each.

    A relevance of 1 or more is a positive, and more than 1 its `grade`; without that field the
    positives are `truth`'s.
    """

    truth: Judged | None
    name = "lightning-ir run"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        rows, query_id = record["rows"], record["query_id"]
        docs = [_listed(row, where) for row in rows]
        good = self._good(record, where)
        if self.truth is None:
            docs = [
                _graded(d, row["relevance"]) if g else d
                for d, row, g in zip(docs, rows, good, strict=True)
            ]
        positives = tuple(doc for doc, is_good in zip(docs, good, strict=True) if is_good)
        negatives = tuple(doc for doc, is_good in zip(docs, good, strict=True) if not is_good)
        if self.truth is not None:
            positives = self.truth.docs(query_id)
        return TrainingRow(
            line, query_id, text_field(rows[0], "query", where), positives, negatives
        )

    def _good(self, record: Record, where: str) -> list[bool]:
        if self.truth is not None:
            return [False] * len(record["rows"])
        grades = (score_value(r.get("relevance"), "relevance", where) for r in record["rows"])
        return [grade is not None and grade > 0 for grade in grades]

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        good = self._good(record, "")
        bad = [at for at, is_good in enumerate(good) if not is_good]
        kept = {bad[at] for at in keep}
        places = [at for at, is_good in enumerate(good) if is_good or at in kept]
        return {**record, "rows": take(record["rows"], places)}

    @property
    def judged_outside(self) -> bool:
        return self.truth is not None

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        """The lines stay where they stand and get the relevance 1."""
        if self.truth is not None:
            return self.prune(record, keep)
        bad = [at for at, good in enumerate(self._good(record, "")) if not good]
        new, kept = {bad[at] for at in places}, {bad[at] for at in keep}
        rows = [
            {**row, "relevance": type(row.get("relevance") or 0)(1)} if at in new else row
            for at, row in enumerate(record["rows"])
            if at in new | kept or at not in bad
        ]
        return {**record, "rows": rows}


def _graded(doc: Doc, relevance: int | float) -> Doc:
    """A positive with its grade, if that says more than that it is one."""
    whole = int(relevance)
    return doc if relevance == 1 else replace(doc, extra={**doc.extra, "grade": whole})


def _listed(row: Record, where: str) -> Doc:
    name = needed_id(row.get("doc_id"), "doc_id", where)
    score = score_value(row.get("score"), "score", where)
    extra = rest(row, ("query_id", "query", "doc_id", "text", "score", "relevance"))
    return Doc(name, "", text_field(row, "text", where), score, extra=extra)


@dataclass(frozen=True)
class Rerank(Format):
    """`query_id`, `query`, `docid`, `title`, `text`, `score`: what Tevatron's reranker reads.

    All are taken as negatives; positives are `truth`'s.
    """

    truth: Judged
    name = "Tevatron rerank input"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        rows, query_id = record["rows"], record["query_id"]
        negatives = tuple(self._doc(row, where) for row in rows)
        query = text_field(rows[0], "query", where)
        return TrainingRow(line, query_id, query, self.truth.docs(query_id), negatives)

    @staticmethod
    def _doc(row: Record, where: str) -> Doc:
        name = needed_id(row.get("docid"), "docid", where)
        score = score_value(row.get("score"), "score", where)
        return titled(row, where, name, score, ("query_id", "query", "docid", "score"))

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "rows": take(record["rows"], keep)}

    @property
    def judged_outside(self) -> bool:
        return True


@dataclass(frozen=True)
class Star(IdFormat):
    """`qid: [pid]`: a list of negatives for each query; positives from `--qrels`."""

    corpus: TextTable
    queries: TextTable
    truth: Judged
    name = "STAR"

    def ids(self, record: Record, where: str) -> IdRow:
        query_id: str = record["query_id"]
        positives = unscored(self.truth.ids(query_id))
        return IdRow(query_id, None, positives, unscored(id_list(record, "hard", where)))

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "hard": take(record["hard"], keep)}

    @property
    def judged_outside(self) -> bool:
        return True


@dataclass(frozen=True)
class Jansowa(IdFormat):
    """Rows of `negatives`, which has a document each; positives are the pairs of `relevant`.

    `retrieval_score` is the score; `relevant` has none beside it, so none is compared with it.
    """

    corpus: TextTable
    queries: TextTable
    truth: Judged
    name = "jansowa"

    def ids(self, record: Record, where: str) -> IdRow:
        query_id: str = record["query_id"]
        key = "retrieval_score"
        negatives: list[Named] = [
            (
                needed_id(row.get("document_id"), "document_id", where),
                score_value(row.get(key), key, where),
            )
            for row in record["rows"]
        ]
        beside = [rest(row, ("query_id", "document_id", key)) for row in record["rows"]]
        return IdRow(query_id, None, unscored(self.truth.ids(query_id)), negatives, {}, beside)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        return {**record, "rows": take(record["rows"], keep)}

    @property
    def judged_outside(self) -> bool:
        return True

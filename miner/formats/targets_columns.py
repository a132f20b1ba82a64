"""sentence-transformers' targets: what a column is, its place says; no column stands besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from ..training_row import Record, TrainingRow
from .target import Negatives, Scores, Target


class TupleTarget(Target):
    """`anchor`, `positive`, `negative_1` to `negative_n`; `scores` where all documents have one."""

    many_positives = False
    negatives: ClassVar[Negatives] = "fixed"
    scores: ClassVar[Scores] = "file"
    needs_shape = True

    def record(self, row: TrainingRow) -> Record:
        texts = [doc.joined for doc in row.negatives]
        numbered = {f"negative_{at}": text for at, text in enumerate(texts, start=1)}
        record = {"anchor": row.query, "positive": row.positives[0].joined}
        record |= {"negative": texts[0]} if len(texts) == 1 else numbered
        good, bad = self.kept_scores(row.positives, row.negatives)
        return record if good is None or bad is None else {**record, "scores": [*good, *bad]}


class TripletTarget(TupleTarget):
    """`anchor`, `positive`, `negative`: a row for each pair of both."""

    negatives: ClassVar[Negatives] = "one"


class PairTarget(Target):
    """`anchor`, `positive`, `label`: a row for each document, 1 for a positive and 0 for others."""

    def record(self, row: TrainingRow) -> Record:
        [doc] = (*row.positives, *row.negatives)
        return {"anchor": row.query, "positive": doc.joined, "label": int(bool(row.positives))}

    def fitted(self, row: TrainingRow) -> Iterator[TrainingRow]:
        for doc in row.positives:
            yield replace(row, positives=(doc,), negatives=())
        for doc in row.negatives:
            yield replace(row, positives=(), negatives=(doc,))


class ListTarget(Target):
    """`anchor`, `positive` with all texts, `labels` of 1 and 0: positives first."""

    def record(self, row: TrainingRow) -> Record:
        docs = (*row.positives, *row.negatives)
        labels = [1] * len(row.positives) + [0] * len(row.negatives)
        texts = [doc.joined for doc in docs]
        return {"anchor": row.query, "positive": texts, "labels": labels}


class ScoresTarget(Target):
    """`anchor`, `positive` with all texts, `scores`: a row for each positive, which is first."""

    many_positives = False
    scores: ClassVar[Scores] = "row"

    def record(self, row: TrainingRow) -> Record:
        good, bad = self.needed_scores(row)
        texts = [doc.joined for doc in (*row.positives, *row.negatives)]
        return {"anchor": row.query, "positive": texts, "scores": [*good, *bad]}

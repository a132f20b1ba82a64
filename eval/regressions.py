"""The queries on which a system loses most against another, with what both found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.ids import I64
from ..core.tables import Qrels, TextTable
from .compared_data import ComparedData, Rankings
from .finished_runs import Systems


@dataclass(frozen=True, slots=True)
class Document:
    """A document with its grade (None: nobody judged it) and its rank in both systems' lists.

    Ranks are from 1; None: not in the list that was kept.
    """

    id: str
    text: str
    grade: int | None
    rank_a: int | None
    rank_b: int | None


@dataclass(frozen=True, slots=True)
class Regression:
    """A query on which `a` is worse than `b`: `values` are those of both.

    `top_a` and `top_b` are their first documents and `positives` the judged ones, best grade first;
    without rankings there are no first documents and no ranks.
    """

    query_id: str
    query: str
    values: tuple[float, float]
    top_a: Document | None
    top_b: Document | None
    positives: list[Document]

    @property
    def difference(self) -> float:
        return self.values[0] - self.values[1]


@dataclass(frozen=True, slots=True)
class Regressions:
    """The worst queries of `a` against `b`, the greatest loss first, of `worse` that lose."""

    a: str
    b: str
    measure: str
    worse: int
    better: int
    queries: list[Regression]

    def as_json(self) -> dict[str, Any]:
        """A JSON value with the whole texts."""
        return asdict(self)


def regressions(
    pair: tuple[str, str],
    systems: Systems,
    data: ComparedData,
    rankings: Rankings | None,
    measure: str,
    count: int,
) -> Regressions:
    """The `count` greatest losses of pair[0] against pair[1], of the means over seeds.

    Equal losses come in the order of query ids. `rankings` are those of the first seeds, if there
    are any.
    """
    a, b = (systems.values[name][measure].mean(axis=0) for name in pair)
    loss = a - b
    order = np.argsort(loss, kind="stable")
    worst = [int(at) for at in order[:count] if loss[at] < 0]
    lists = [None if rankings is None else rankings.ids[name] for name in pair]
    found = [
        _regression(at, systems.query_ids[at], (float(a[at]), float(b[at])), data, lists)
        for at in worst
    ]
    return Regressions(*pair, measure, int((loss < 0).sum()), int((loss > 0).sum()), found)


def _regression(
    at: int,
    query_id: str,
    values: tuple[float, float],
    data: ComparedData,
    lists: Sequence[I64 | None],
) -> Regression:
    row = int(data.rows[at])
    ranked = [None if ids is None else ids[at][ids[at] >= 0] for ids in lists]
    describe = _Describe(row, data.qrels, data.dataset.corpus, ranked)
    top_a, top_b = (
        None if ids is None or not ids.size else describe(int(ids[0])) for ids in ranked
    )
    part = slice(int(data.qrels.indptr[row]), int(data.qrels.indptr[row + 1]))
    docs, grades = data.qrels.docs[part], data.qrels.grades[part]
    rank = data.dataset.corpus.ids.rank_N[docs]
    positives = [
        int(docs[k]) for k in np.lexsort((rank, -grades)) if grades[k] >= data.qrels.min_grade
    ]
    text = data.dataset.queries.texts([row])[0]
    return Regression(query_id, text, values, top_a, top_b, [describe(doc) for doc in positives])


@dataclass(frozen=True, slots=True)
class _Describe:
    query: int
    qrels: Qrels
    corpus: TextTable
    ranked: Sequence[I64 | None]

    def __call__(self, doc: int) -> Document:
        part = slice(int(self.qrels.indptr[self.query]), int(self.qrels.indptr[self.query + 1]))
        judged = np.flatnonzero(self.qrels.docs[part] == doc)
        grade = int(self.qrels.grades[part][judged[0]]) if judged.size else None
        ranks = [_rank(ids, doc) for ids in self.ranked]
        name, text = self.corpus.id_strings([doc])[0], self.corpus.texts([doc])[0]
        return Document(name, text, grade, *ranks)


def _rank(ids: I64 | None, doc: int) -> int | None:
    found = np.zeros(0) if ids is None else np.flatnonzero(ids == doc)
    return int(found[0]) + 1 if found.size else None

"""What a writer is asked for: texts beside a query (kind=passages) or a document (kind=queries)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...core.beir import Dataset
from ...core.ids import I64
from ...core.rng import combine, stream
from ...core.tables import Qrels, TextTable
from ..training_row import Doc
from .config import Kind

_PURPOSE = 44


@dataclass(frozen=True, slots=True)
class Asked:
    """An anchor, which the texts must not go with, and what does go with it.

    `truths` are shown to the writer and the checks; `known` are the texts of all positives.
    `words` is how long a text should be about.
    """

    id: str
    text: str
    truths: tuple[Doc, ...]
    known: tuple[str, ...]
    words: int


@dataclass(frozen=True, slots=True)
class Anchors:
    """Anchors in ascending id order, with their positives.

    `rows` int64 [A] of `table`; those of anchor a are `positives[starts[a]:starts[a + 1]]`, rows of
    `others`, in ascending id order.
    """

    table: TextTable
    others: TextTable
    rows: I64
    starts: I64
    positives: I64

    def __len__(self) -> int:
        return int(self.rows.size)

    def asked(self, start: int, stop: int, most_truths: int) -> list[Asked]:
        """The anchors from `start` to before `stop`."""
        stop = min(stop, len(self))
        ids = self.table.id_strings(self.rows[start:stop])
        texts = self.table.texts(self.rows[start:stop])
        places = range(start, stop)
        return [self._one(*one, most_truths) for one in zip(places, ids, texts, strict=True)]

    def _one(self, at: int, name: str, text: str, most_truths: int) -> Asked:
        rows = self.positives[self.starts[at] : self.starts[at + 1]]
        known = tuple(self.others.texts(rows))
        names = self.others.id_strings(rows[:most_truths])
        truths = tuple(
            Doc(i, "", shown) for i, shown in zip(names, known[:most_truths], strict=True)
        )
        words = sorted(len(doc.text.split()) for doc in truths)[len(truths) // 2]
        return Asked(name, text, truths, known, words)

    def blocks(self, size: int, most_truths: int) -> Iterator[list[Asked]]:
        """All anchors, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.asked(start, start + size, most_truths)


def anchors_of(
    dataset: Dataset, split: Qrels, qrels: Qrels, kind: Kind, most: int | None, seed: int
) -> Anchors:
    """The queries with a positive in `split`, or the documents that `qrels` has as theirs.

    `qrels` may know more positives of these queries than `split`. `most` anchors are those with the
    smallest hashes of their ids.
    """
    queries, docs = qrels.pairs()
    mine = np.isin(queries, split.with_positives())
    tables = dataset.queries, dataset.corpus
    pairs = queries[mine], docs[mine]
    if kind == "queries":
        tables, pairs = tables[::-1], pairs[::-1]
    ranks = [table.ids.rank_N[rows] for table, rows in zip(tables, pairs, strict=True)]
    order = np.lexsort((ranks[1], ranks[0]))
    anchors, positives = pairs[0][order], pairs[1][order]
    if most is not None:
        there = np.unique(anchors)
        keys = combine(stream(seed, 0, _PURPOSE), tables[0].id_hashes()[there])
        kept = np.isin(anchors, there[np.argsort(keys, kind="stable")[:most]])
        anchors, positives = anchors[kept], positives[kept]
    begins = np.flatnonzero(np.append(True, anchors[1:] != anchors[:-1]))
    return Anchors(*tables, anchors[begins], np.append(begins, anchors.size), positives)

"""Training rows of a judged set: positives by grade, negatives that were judged as not relevant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...core.tables import Qrels, TextTable, check_rows
from ..formats.sets import SetFolder
from ..formats.texts import open_texts
from ..training_row import Doc, TrainingRow

_BLOCK = 128


def set_rows(files: SetFolder, split: str, cache: Path) -> Iterator[TrainingRow]:
    """A row for each query that a split judges, in the order of the queries' file.

    A grade other than 1 of a positive is kept as `grade`. Memory: the ids and the split's
    judgements; texts are mapped. Raises PyriteError with the line of an unknown id.
    """
    corpus, queries = open_texts(files.corpus, cache), open_texts(files.queries, cache)
    qrels = _judged(files, split, queries, corpus)
    asked = np.flatnonzero(np.diff(qrels.indptr))
    for start in range(0, asked.size, _BLOCK):
        block = asked[start : start + _BLOCK]
        names, texts = queries.id_strings(block), queries.texts(block)
        for query, name, text in zip(block.tolist(), names, texts, strict=True):
            part = slice(int(qrels.indptr[query]), int(qrels.indptr[query + 1]))
            docs = _docs(corpus, qrels.docs[part])
            graded = list(zip(qrels.grades[part].tolist(), docs, strict=True))
            positives = tuple(
                Doc(d.id, d.title, d.text, extra={} if grade == 1 else {"grade": grade})
                for grade, d in graded
                if grade > 0
            )
            negatives = tuple(doc for grade, doc in graded if grade <= 0)
            yield TrainingRow(query + 1, name, text, positives, negatives)


def _judged(files: SetFolder, split: str, queries: TextTable, corpus: TextTable) -> Qrels:
    rows = list(files.judgements(split))
    lines = [row.line for row in rows]
    asked, found = [row.query for row in rows], [row.document for row in rows]
    query_rows, doc_rows = queries.ids.find(asked), corpus.ids.find(found)
    where = str(files.judged(split)[0])
    check_rows(query_rows, asked, lines, where, "queries")
    check_rows(doc_rows, found, lines, where, "corpus")
    grades = np.array([row.grade for row in rows], dtype=np.int64)
    return Qrels.build(query_rows, doc_rows, grades, len(queries))


def _docs(corpus: TextTable, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Doc]:
    columns = corpus.id_strings(rows), corpus.titles(rows), corpus.texts(rows)
    return [Doc(name, title, text) for name, title, text in zip(*columns, strict=True)]

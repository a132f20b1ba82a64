"""Training rows: one for each (query, positive) pair, with the query's negatives beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.beir import Dataset
from ..core.candidates import PAD_ID
from ..core.ids import I64
from ..core.rng import U64
from ..core.tables import Qrels
from ..core.text_file import NO_TEXT
from ..miner.negatives_file import NegativeRows

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Row numbers of training examples, and what the loss must know to mask by.

    `queries` [R], `positives` [R], `negatives` [R, n] (-1 where missing) are table rows;
    `text_of_N` numbers the corpus texts, equal texts alike, and `row_of_T` names a row of each;
    `known` [P] ascending holds `query * span + text` of every known positive.
    """

    queries: I64
    positives: I64
    negatives: I64
    text_of_N: I64
    row_of_T: I64
    known: I64
    span: int

    @property
    def missing(self) -> int:
        """Negatives that a row should have and has not."""
        return int((self.negatives == PAD_ID).sum())


def training_set(
    qrels: Qrels,
    negatives: NegativeRows,
    doc_texts_N: U64,
    n: int,
    judged: Qrels | None = None,
) -> TrainingSet:
    """Pair each query's positives with its first `n` negatives (0: in-batch negatives only).

    `judged` has further judgements of the same queries: their positives are no rows, but no
    negatives of a batch either. Negatives that were mined for one positive stay with it.
    """
    span = int(doc_texts_N.size) + 1
    _, row_of, text_of = np.unique(doc_texts_N, return_index=True, return_inverse=True)
    all_queries, all_docs = (qrels if judged is None else judged).pairs()
    known = np.unique(all_queries * span + text_of[all_docs])
    if negatives.positive_rows is not None:
        rows = (negatives.query_rows, negatives.positive_rows, negatives.ids[:, :n])
        return TrainingSet(*rows, text_of.astype(np.int64), row_of.astype(np.int64), known, span)
    queries, positives, places = [], [], []
    for place, row in enumerate(negatives.query_rows):
        docs = qrels.positives(int(row))
        queries.append(np.full(docs.size, row, dtype=np.int64))
        positives.append(docs)
        places.append(np.full(docs.size, place, dtype=np.int64))
    return TrainingSet(
        np.concatenate(queries),
        np.concatenate(positives),
        negatives.ids[np.concatenate(places), :n],
        text_of.astype(np.int64),
        row_of.astype(np.int64),
        known,
        span,
    )


def as_dataset(rows: TrainingSet, dataset: Dataset) -> datasets.Dataset:
    """Texts in the column order that sentence-transformers expects, and a `label` of numbers.

    A missing negative has NO_TEXT and the number -1, which the loss masks.
    """
    import datasets

    columns: dict[str, object] = {
        "query": dataset.queries.texts(rows.queries),
        "positive": dataset.corpus.texts(rows.positives),
    }
    labels = [rows.queries, rows.text_of_N[rows.positives]]
    for at in range(rows.negatives.shape[1]):
        ids = rows.negatives[:, at]
        texts = dataset.corpus.texts(np.maximum(ids, 0))
        here = ids != PAD_ID
        columns[f"negative_{at + 1}"] = [
            t if k else NO_TEXT for t, k in zip(texts, here, strict=True)
        ]
        labels.append(np.where(here, rows.text_of_N[np.maximum(ids, 0)], PAD_ID))
    columns["label"] = np.stack(labels, axis=1).tolist()
    return datasets.Dataset.from_dict(columns)

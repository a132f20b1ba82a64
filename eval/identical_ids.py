"""Queries that are documents of the corpus under the same id: kept or taken out of the results.

In ArguAna and Quora a query is itself a document, and would take the first rank of every good
model. In SciFact and NFCorpus equal ids mean nothing, since both sides count from small numbers.
The table follows MTEB's tasks; BEIR's own evaluator takes out equal ids everywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ..core.candidates import PAD_ID, Candidates
from ..core.tables import TextTable

if TYPE_CHECKING:
    from .config import IdenticalIds

# how a dataset's name begins, without punctuation: fiqa is FiQA2018 and FiQA-PL too
DROPPED = (
    "arguana",
    "feedbackqa",
    "fever",
    "fiqa",
    "mlquestions",
    "mmarco",
    "msmarco",
    "quora",
    "trecdl",
)


def drops_identical(how: IdenticalIds, dataset: str) -> bool:
    """Whether results with the query's own id are taken out of a dataset of this name or path."""
    if how != "auto":
        return how == "drop"
    name = re.sub(r"[^a-z0-9]", "", re.split(r"[/\\]", dataset.rstrip("/\\"))[-1].lower())
    return name.startswith(DROPPED)


def without_identical(
    found: Candidates, queries: TextTable, corpus: TextTable, depth: int
) -> tuple[Candidates, int]:
    """`found` without each query's own id, cut to `depth`, and how many were taken out.

    Search one document deeper than `depth`, and `depth` results remain.
    """
    own = corpus.ids.find(queries.id_strings(found.query_rows))
    ids = np.asarray(found.ids)
    same = (ids == own[:, None]) & (ids != PAD_ID)
    order = np.argsort(same, axis=1, kind="stable")[:, :depth]
    gone = np.take_along_axis(same, order, axis=1)

    def pick(values: np.ndarray, empty: float) -> np.ndarray:
        kept = np.take_along_axis(np.asarray(values), order, axis=1)
        return np.where(gone, values.dtype.type(empty), kept)

    return (
        Candidates(
            found.query_rows,
            pick(found.ids, PAD_ID),
            pick(found.scores, -np.inf),
            pick(found.source, 0),
            pick(found.source_rank, 0),
            found.sources,
            found.generation,
        ),
        int(same.sum()),
    )

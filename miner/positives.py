"""Scores of the known positives: what every positive-aware rule compares with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.encoder import F32
from ..core.ids import I64
from ..core.run import Prepared
from ..indexes.topk import exact_scores
from .filters import positive_scores

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Positives:
    """Exact scores of Q queries' positives, in the order of the mined queries.

    `pairs` float32 [P] are all of them, those of query i at `starts[i]:starts[i + 1]`;
    `per_query` float32 [Q] is the one that counts. Computed from the vectors, so a positive that
    was not retrieved has its score all the same.
    """

    pairs: F32
    starts: I64
    per_query: F32


def score_positives(prepared: Prepared, how: str) -> Positives:
    """Score each (query, positive) pair; `how` is `min`, `mean` or `max` over a query's pairs."""
    rows = prepared.queries.rows
    docs = [prepared.qrels.positives(int(row)) for row in rows]
    starts = np.concatenate(([0], np.cumsum([d.size for d in docs]))).astype(np.int64)
    owner = np.repeat(np.arange(rows.size), np.diff(starts))
    flat = np.concatenate(docs)
    pairs = np.empty(flat.size, dtype=np.float32)
    for start in range(0, flat.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        vectors = prepared.queries.embeddings.take(owner[part])
        pairs[part] = exact_scores(vectors, prepared.corpus, flat[part, None])[:, 0]
    return Positives(pairs, starts, positive_scores(pairs, owner, rows.size, how))

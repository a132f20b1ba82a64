"""Scores of the known positives: what every positive-aware rule compares with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.candidates import Candidates
from ..core.encoder import F32
from ..core.ids import I64
from ..core.run import Prepared
from ..indexes.topk import exact_scores
from .filters import positive_scores

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Positives:
    """Exact scores of Q queries' positives, in the order of the mined queries.

    `pairs` float32 [P] are all of them, those of query i at `starts[i]:starts[i + 1]` in ascending
    order of their ids, `docs` int64 [P] their rows; `per_query` float32 [Q] is the one that counts,
    `each` says that every one does, in a row of its own. Computed from the vectors, so a positive
    that was not retrieved has its score all the same.
    """

    pairs: F32
    docs: I64
    starts: I64
    per_query: F32
    each: bool

    def rows(self, block: Candidates, start: int) -> tuple[Candidates, F32, I64]:
        """The rows to choose for, out of the candidates of the queries from place `start` on.

        A row for each query, or with `each` one for every positive; the score of the positive that
        it is compared with, float32; the place of its query, int64.
        """
        stop = start + block.query_rows.size
        places = np.arange(start, stop)
        if not self.each:
            return block, self.per_query[start:stop], places
        mine = slice(self.starts[start], self.starts[stop])
        places = np.repeat(places, np.diff(self.starts[start : stop + 1]))
        rows = replace(block.rows(places - start), positive_rows=self.docs[mine])
        return rows, self.pairs[mine], places

    def row_count(self, queries: int) -> int:
        """Rows to choose for in all."""
        return self.pairs.size if self.each else queries

    def row_count_of(self, start: int, stop: int) -> int:
        """Rows to choose for, of the queries from place `start` to `stop`."""
        return int(self.starts[stop] - self.starts[start]) if self.each else stop - start


def score_positives(prepared: Prepared, how: str) -> Positives:
    """Score each (query, positive) pair; `how` is as in `filters.positive_score`."""
    rows, rank_N = prepared.queries.rows, prepared.dataset.corpus.ids.rank_N
    found = (prepared.qrels.positives(int(row)) for row in rows)
    docs = [d[np.argsort(rank_N[d])] for d in found]
    starts = np.concatenate(([0], np.cumsum([d.size for d in docs]))).astype(np.int64)
    owner = np.repeat(np.arange(rows.size), np.diff(starts))
    flat = np.concatenate(docs)
    pairs = np.empty(flat.size, dtype=np.float32)
    for start in range(0, flat.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        vectors = prepared.queries.embeddings.take(owner[part])
        pairs[part] = exact_scores(vectors, prepared.corpus, flat[part, None])[:, 0]
    per_query = positive_scores(pairs, owner, rows.size, how)
    return Positives(pairs, flat, starts, per_query, how == "each")

"""The vectors of a run, by the rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.candidates import PAD_ID
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.run import Prepared


@dataclass(frozen=True, slots=True)
class Vectors:
    """Documents' and queries' vectors.

    `place` int64 is over the rows of the query table: where the query stands among the encoded
    ones, which are in ascending id order; -1 for a query that was not encoded.
    """

    corpus: Embeddings
    queries: Embeddings
    place: I64

    @classmethod
    def of(cls, prepared: Prepared) -> Vectors:
        """The vectors of a prepared dataset."""
        rows = prepared.queries.rows
        place = np.full(len(prepared.dataset.queries), PAD_ID, dtype=np.int64)
        place[rows] = np.arange(rows.size)
        return cls(prepared.corpus, prepared.queries.embeddings, place)

    def of_queries(self, query_rows: I64) -> F32:
        """Vectors of encoded queries, float32 [Q, D]."""
        return self.queries.take(self.place[query_rows])

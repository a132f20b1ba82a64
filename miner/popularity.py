"""How popular candidates are: of how many queries each is a positive."""

from __future__ import annotations

import numpy as np

from ..core.ids import I64
from ..core.tables import Qrels


def owner_counts(ids_QK: I64, qrels: Qrels) -> I64:
    """The number of queries that have each candidate as a positive, int64 [Q, K]; 0 for padding."""
    unique, inverse = np.unique(ids_QK, return_inverse=True)
    _, docs = qrels.pairs()
    at = np.minimum(np.searchsorted(unique, docs), max(unique.size - 1, 0))
    hit = at[unique[at] == docs] if unique.size else at[:0]
    counts = np.bincount(hit, minlength=unique.size)
    return np.asarray(counts[inverse.reshape(ids_QK.shape)], dtype=np.int64)

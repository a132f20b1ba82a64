"""A pooled part of the corpus, in which a model is measured at a fraction of the encoding.

Pooling as in TREC: Sparck Jones, van Rijsbergen, "Report on the need for and provision of an ideal
information retrieval test collection", 1975. What matters is the order of models that the pool
gives: Kendall's tau with the order of the whole corpus says how far it can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

from ..core.candidates import PAD_ID
from ..core.ids import I64
from ..core.tables import Qrels


def pool_of(qrels: Qrels, rankings: Iterable[I64]) -> I64:
    """Corpus rows of the pool, int64 [P], ascending.

    All documents that `qrels` judges, of whatever grade, and all that stand in one of `rankings`,
    int64 [Q, K] padded with -1.
    """
    ranked = [np.unique(ids_QK) for ids_QK in rankings]
    rows = np.unique(np.concatenate([qrels.docs, *ranked]))
    return np.asarray(rows[rows != PAD_ID], dtype=np.int64)


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b of two lists of values of the same things, in [-1, 1].

    None where it is undefined: for fewer than two things, or where a list has one value only.
    """
    if min(len(set(one)), len(set(other))) < 2:
        return None
    return float(stats.kendalltau(one, other).statistic)

"""Retrieval measures of each query, by ir_measures (pytrec_eval underneath).

nDCG has linear gain and an ideal over all judged documents. Every judged query with a positive is
in the denominator; one without results scores 0. Our own rank order is what is measured: scores
are handed over strictly descending, so no tool breaks a tie its own way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import ir_measures
import numpy as np
import numpy.typing as npt

from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.tables import Qrels

F64 = npt.NDArray[np.float64]
_NAMES = {"ndcg": "nDCG", "mrr": "RR", "recall": "R", "map": "AP", "precision": "P"}


def parse_measure(name: str) -> ir_measures.measures.Measure:
    """`ndcg@10` as an ir_measures measure; raises PyriteError naming the known ones."""
    base, _, cutoff = name.partition("@")
    if base not in _NAMES or not re.fullmatch("[1-9][0-9]*", cutoff):
        known = ", ".join(f"{n}@k" for n in _NAMES)
        raise PyriteError(f"measure {name!r} is unknown; known measures: {known}, k from 1")
    return ir_measures.parse_measure(f"{_NAMES[base]}@{cutoff}")


def cutoff(names: Sequence[str]) -> int:
    """The deepest rank that any of the measures looks at."""
    for name in names:
        parse_measure(name)
    return max(int(name.partition("@")[2]) for name in names)


def per_query(names: Sequence[str], qrels: Qrels, query_rows: I64, ids_QK: I64) -> dict[str, F64]:
    """Each measure of each query of `query_rows`, float64 [Q], in their order.

    `ids_QK` int64 [Q, K] are ranked corpus rows, -1 where there is none.
    """
    measures = {name: parse_measure(name) for name in names}
    place = {str(int(row)): at for at, row in enumerate(query_rows)}
    values = {name: np.zeros(query_rows.size) for name in names}
    by_measure = {measure: name for name, measure in measures.items()}
    judged = list(_judgements(qrels, query_rows))
    ranked = list(_ranked(query_rows, ids_QK))
    for metric in ir_measures.iter_calc(list(measures.values()), judged, ranked):
        values[by_measure[metric.measure]][place[metric.query_id]] = metric.value
    return values


def _judgements(qrels: Qrels, query_rows: I64) -> Iterator[ir_measures.Qrel]:
    for row in query_rows:
        part = slice(int(qrels.indptr[row]), int(qrels.indptr[row + 1]))
        for doc, grade in zip(qrels.docs[part], qrels.grades[part], strict=True):
            # below min_grade a document is not relevant for any measure
            relevance = int(grade) if grade >= qrels.min_grade else 0
            yield ir_measures.Qrel(str(int(row)), str(int(doc)), relevance)


def _ranked(query_rows: I64, ids_QK: I64) -> Iterator[ir_measures.ScoredDoc]:
    depth = ids_QK.shape[1]
    for row, ids in zip(query_rows, ids_QK, strict=True):
        for rank, doc in enumerate(ids):
            if doc >= 0:
                yield ir_measures.ScoredDoc(str(int(row)), str(int(doc)), float(depth - rank))

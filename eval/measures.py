"""Retrieval measures of each query, by ir_measures (pytrec_eval underneath).

nDCG has linear gain and an ideal over all judged documents. Every judged query with a positive is
in the denominator; one without results scores 0. Our own rank order is what is measured: scores
are handed over strictly descending, so no tool breaks a tie its own way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import ir_measures
import numpy as np
import numpy.typing as npt

from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.tables import Qrels

F64 = npt.NDArray[np.float64]
_NAMES = {
    "ndcg": "nDCG",
    "mrr": "RR",
    "recall": "R",
    "map": "AP",
    "precision": "P",
    "success": "Success",
}
_OWN = ("r_cap", "judged")
# no cutoff: over all that was retrieved, which is as deep as trec_eval's users go
_WHOLE = {"bpref": "Bpref", "infap": "infAP"}
WHOLE_DEPTH = 1000
_BLOCK = 128  # queries whose judgements and results are Python objects at a time


def check_measure(name: str) -> None:
    """Raise PyriteError naming the known measures unless `name` is one, as `ndcg@10`."""
    base, at, cutoff = name.partition("@")
    if name in _WHOLE:
        return
    if base not in (*_NAMES, *_OWN) or not re.fullmatch("[1-9][0-9]*", cutoff) or not at:
        known = ", ".join((*(f"{n}@k" for n in (*_NAMES, *_OWN)), *_WHOLE))
        raise PyriteError(f"measure {name!r} is unknown; known measures: {known}, k from 1")


def cutoff(names: Sequence[str]) -> int:
    """The deepest rank that any of the measures looks at."""
    for name in names:
        check_measure(name)
    return max(WHOLE_DEPTH if name in _WHOLE else _k(name) for name in names)


def with_judged(names: Sequence[str]) -> tuple[str, ...]:
    """The measures with `judged@k` behind each `ndcg@k`: how far that number is to be believed."""
    out: dict[str, None] = {}
    for name in names:
        out[name] = None
        if name.startswith("ndcg@"):
            out[f"judged@{_k(name)}"] = None
    return tuple(out)


def per_query(names: Sequence[str], qrels: Qrels, query_rows: I64, ids_QK: I64) -> dict[str, F64]:
    """Each measure of each query of `query_rows`, float64 [Q], in their order.

    `ids_QK` int64 [Q, K] are ranked corpus rows, -1 where there is none, padded at the end.
    `r_cap@k` divides by min(k, positives); `judged@k` is the share of the first k results with a
    judgement. Negative grades (TREC's pooled but unjudged) are no judgement, except to infAP.
    """
    cutoff(names)
    values = {name: np.zeros(query_rows.size) for name in names}
    for start in range(0, query_rows.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        rows, ids = query_rows[block], np.asarray(ids_QK[block])
        for name in names:
            if name.partition("@")[0] in _OWN:
                own = _r_cap if name.startswith("r_cap") else _judged
                values[name][block] = own(qrels, rows, ids[:, : _k(name)], _k(name))
        _by_library(
            [n for n in names if n.partition("@")[0] not in _OWN], values, block, qrels, rows, ids
        )
    return values


def _k(name: str) -> int:
    return int(name.partition("@")[2])


def _by_library(
    names: Sequence[str],
    values: dict[str, F64],
    block: slice,
    qrels: Qrels,
    rows: I64,
    ids_BK: I64,
) -> None:
    """Fill `block` of the measures that ir_measures knows."""
    by_measure = {ir_measures.parse_measure(_library_name(name)): name for name in names}
    if not by_measure:
        return
    place = {str(int(row)): block.start + at for at, row in enumerate(rows)}
    judged, ranked = _judgements(qrels, rows), _ranked(rows, ids_BK)
    for metric in ir_measures.iter_calc(list(by_measure), judged, ranked):
        values[by_measure[metric.measure]][place[metric.query_id]] = metric.value


def _library_name(name: str) -> str:
    base, _, k = name.partition("@")
    return _WHOLE.get(name) or f"{_NAMES[base]}@{k}"


def _r_cap(qrels: Qrels, rows: I64, top_Bk: I64, k: int) -> F64:
    found = qrels.is_positive(rows, top_Bk).sum(axis=1)
    positives = np.array([qrels.positives(int(row)).size for row in rows])
    return np.asarray(found / np.maximum(np.minimum(positives, k), 1), dtype=np.float64)


def _judged(qrels: Qrels, rows: I64, top_Bk: I64, k: int) -> F64:
    shares = np.zeros(rows.size)
    for at, (row, top) in enumerate(zip(rows.tolist(), top_Bk, strict=True)):
        part = slice(int(qrels.indptr[row]), int(qrels.indptr[row + 1]))
        known = qrels.docs[part][qrels.grades[part] >= 0]
        found = top[top >= 0]
        shares[at] = np.isin(found, known).sum() / max(found.size, 1)
    return shares


def _judgements(qrels: Qrels, query_rows: I64) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in query_rows.tolist():
        part = slice(int(qrels.indptr[row]), int(qrels.indptr[row + 1]))
        grades = qrels.grades[part]
        # below min_grade a document is not relevant for any measure
        relevance = np.where(grades >= qrels.min_grade, grades, np.minimum(grades, 0)).tolist()
        if relevance:
            found[str(row)] = dict(zip(map(str, qrels.docs[part].tolist()), relevance, strict=True))
    return found


def _ranked(query_rows: I64, ids_QK: I64) -> dict[str, dict[str, float]]:
    # tables of tables: a named tuple for each result took most of the time of an evaluation
    depth = ids_QK.shape[1]
    falling = np.arange(depth, 0, -1, dtype=np.float64).tolist()
    found: dict[str, dict[str, float]] = {}
    for row, ids in zip(query_rows.tolist(), ids_QK, strict=True):
        there = ids[ids >= 0].tolist()
        if there:
            found[str(row)] = dict(zip(map(str, there), falling, strict=False))
    return found

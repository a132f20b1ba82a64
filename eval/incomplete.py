"""What unjudged documents hide: shares of judged results, and measures that pass them over.

A measure takes what nobody judged for irrelevant. `judged@k` says how much of it there is. On a
condensed list (Sakai, "Alternatives to bpref", SIGIR 2007) the unjudged are deleted before
measuring. bpref: Buckley and Voorhees, SIGIR 2004; infAP: Yilmaz and Aslam, CIKM 2006.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.ids import I64
from ..core.tables import Qrels
from .compared_data import Rankings
from .measures import per_query

# negative grades are TREC's pooled but unjudged documents
_LOWEST_JUDGED = 0


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Measures that tell about missing judgements, for each system: name to mean over queries.

    `<measure> condensed`, `bpref` and `infap` are there only where `negatives`, the number of
    judged negatives, is not 0: without them a condensed list holds positives alone.
    """

    systems: dict[str, dict[str, float]]
    positives: int
    negatives: int

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        return {
            "judged_positives": self.positives,
            "judged_negatives": self.negatives,
            "systems": self.systems,
        }


def judged(qrels: Qrels, rows: I64, ids_QK: I64) -> npt.NDArray[np.bool_]:
    """Which results were judged at all, bool [Q, K]; grades below 0 are no judgement."""
    return replace(qrels, min_grade=_LOWEST_JUDGED).is_positive(rows, ids_QK) & (ids_QK >= 0)


def condensed(qrels: Qrels, rows: I64, ids_QK: I64) -> I64:
    """The judged results of each query in their order, int64 [Q, K], padded with -1 at the end."""
    known = judged(qrels, rows, ids_QK)
    order = np.argsort(~known, axis=1, kind="stable")
    kept = np.take_along_axis(np.where(known, ids_QK, -1), order, axis=1)
    return np.asarray(kept, dtype=np.int64)


def incomplete(rankings: Rankings, measures: list[str]) -> Incomplete:
    """judged@k beside each nDCG of `measures`, and what measures say without the unjudged."""
    data = rankings.data
    grades = _grades(data.qrels, data.rows)
    positives = int((grades >= data.qrels.min_grade).sum())
    negatives = int((grades >= _LOWEST_JUDGED).sum()) - positives
    graded = [m for m in measures if m.startswith("ndcg@")]
    systems = {}
    for name, ids in rankings.ids.items():
        shares = [m.replace("ndcg", "judged") for m in graded]
        found = per_query(shares + ["bpref", "infap"] * bool(negatives), data.qrels, data.rows, ids)
        means = {key: float(values.mean()) for key, values in found.items()}
        if negatives and graded:
            short = condensed(data.qrels, data.rows, ids)
            for key, values in per_query(graded, data.qrels, data.rows, short).items():
                means[f"{key} condensed"] = float(values.mean())
        systems[name] = means
    return Incomplete(systems, positives, negatives)


def _grades(qrels: Qrels, rows: I64) -> npt.NDArray[np.int16]:
    parts = [qrels.grades[int(qrels.indptr[r]) : int(qrels.indptr[r + 1])] for r in rows]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int16)

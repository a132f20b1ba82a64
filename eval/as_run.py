"""A ranking as other tools take it: string ids, and scores that leave no tie to be broken."""

from __future__ import annotations

import numpy as np

from ..core.encoder import F32
from .search import Searched

Judged = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]
_BLOCK = 1024


def strict_scores(scores_QK: F32) -> F32:
    """`scores_QK` [Q, K], best first, lowered by as little as makes each row strictly descending.

    trec_eval compares scores as float32 and breaks ties by document id descending, so equal scores
    would lose our order. Padding stays -inf.
    """
    out = np.array(scores_QK, dtype=np.float32)
    for column in range(1, out.shape[1]):
        below = np.nextafter(out[:, column - 1], np.float32(-np.inf))
        out[:, column] = np.minimum(out[:, column], below)
    return out


def as_run(found: Searched) -> tuple[Judged, Run]:
    """Judgements and results by id, as pytrec_eval, beir and mteb take them.

    A query without results has an empty one, which those tools count as 0; with
    `eval.convention=trec_eval` it is left out. Grades below `min_grade` are 0.
    """
    queries, corpus = found.inputs.queries, found.inputs.corpus
    qrels, rows = found.qrels, found.inputs.rows
    judged: Judged = {}
    run: Run = {}
    for start in range(0, rows.size, _BLOCK):
        block = found.candidates.block(start, min(start + _BLOCK, rows.size))
        scores_BK = strict_scores(block.scores)
        names = queries.id_strings(rows[start : start + _BLOCK])
        for query, row, ids, scores in zip(
            names, rows[start : start + _BLOCK].tolist(), block.ids, scores_BK, strict=True
        ):
            part = slice(int(qrels.indptr[row]), int(qrels.indptr[row + 1]))
            grades = np.where(qrels.grades[part] >= qrels.min_grade, qrels.grades[part], 0)
            documents = corpus.id_strings(qrels.docs[part])
            judged[query] = dict(zip(documents, grades.tolist(), strict=True))
            there = ids >= 0
            if there.any() or found.convention == "pyrite":
                documents = corpus.id_strings(ids[there])
                run[query] = dict(zip(documents, scores[there].tolist(), strict=True))
    return judged, run

"""Further judgements of a split's queries: two sets of labels miss fewer positives than one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .beir import Dataset, read_qrels
from .errors import PyriteError
from .ids import I64
from .tables import Qrels

logger = logging.getLogger(__name__)


def unite_qrels(qrels: Qrels, paths: Sequence[str], dataset: Dataset) -> Qrels:
    """The judgements of a split and of further BEIR files; a pair keeps its highest grade.

    Only queries with a positive in the split gain judgements: a file that also judges held-out
    queries brings none of them into training. What is added, known and passed over is counted in
    the log. Raises PyriteError for a file that is missing, malformed, without a positive or with
    an unknown id, the last three with what `read_qrels` says.
    """
    chosen = np.zeros(len(qrels), dtype=bool)
    chosen[qrels.with_positives()] = True
    for name in paths:
        path = Path(name)
        if not path.is_file():
            raise PyriteError(
                f"{path}: no such file of judgements; dataset.qrels lists paths of BEIR tsv files"
            )
        more = read_qrels(path, dataset.queries, dataset.corpus, qrels.min_grade, dataset.dropped)
        judged = _judged(more)
        mine = chosen[judged]
        before = qrels
        query = np.concatenate((_judged(qrels), judged[mine]))
        doc = np.concatenate((qrels.docs, more.docs[mine]))
        grade = np.concatenate((qrels.grades, more.grades[mine])).astype(np.int64)
        qrels = Qrels.build(query, doc, grade, len(before), before.min_grade)
        added = qrels.pairs()[0].size - before.pairs()[0].size
        logger.info(
            "%s: %d positives added, %d known before; %d judgements of other queries passed over",
            path,
            added,
            int((more.grades[mine] >= qrels.min_grade).sum()) - added,
            int((~mine).sum()),
        )
    return qrels


def _judged(qrels: Qrels) -> I64:
    """The query row of each judgement, int64 [J]."""
    return np.repeat(np.arange(len(qrels)), np.diff(qrels.indptr))

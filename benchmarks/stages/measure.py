"""Measures of ranked results, beside pytrec_eval and beir on the same ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import Reading, measured
from stage import Stage

DEPTH, JUDGED, DOCUMENTS = 100, 3, 1_000_000
CUTOFFS = (10, 100)
MEASURES = tuple(f"{m}@{k}" for m in ("ndcg", "map", "recall", "precision") for k in CUTOFFS)


def prepare(folder: Path, size: int) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, DOCUMENTS, (size, 1))
    ids = (first + np.arange(DEPTH) * 4999) % DOCUMENTS
    np.save(folder / "ids.npy", ids)
    np.save(folder / "judged.npy", ids[:, rng.integers(0, DEPTH, JUDGED)])


def inputs(folder: Path) -> tuple[Any, Any]:
    return np.load(folder / "ids.npy"), np.load(folder / "judged.npy")


def ours(folder: Path, size: int) -> Reading:
    from pyrite.core.tables import Qrels
    from pyrite.eval.measures import per_query

    ids, judged = inputs(folder)
    rows = np.repeat(np.arange(size), JUDGED)
    qrels = Qrels.build(rows, judged.reshape(-1), np.ones(rows.size, dtype=np.int64), size)
    per_query(MEASURES, qrels, np.arange(10), ids[:10])
    with measured() as reading:
        per_query(MEASURES, qrels, np.arange(size), ids)
    return reading


def tables(ids: Any, judged: Any) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """What pytrec_eval and beir take: tables of strings, for all queries at once."""
    falling = np.arange(DEPTH, 0, -1, dtype=np.float64).tolist()
    qrels = {str(q): {str(d): 1 for d in docs} for q, docs in enumerate(judged.tolist())}
    run = {
        str(q): dict(zip(map(str, docs), falling, strict=True))
        for q, docs in enumerate(ids.tolist())
    }
    return qrels, run


def by_pytrec_eval(folder: Path, size: int) -> Reading:
    import pytrec_eval

    names = {f"{m}.{','.join(map(str, CUTOFFS))}" for m in ("ndcg_cut", "map_cut", "recall", "P")}
    ids, judged = inputs(folder)
    with measured() as reading:
        qrels, run = tables(ids, judged)
        pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    return reading


def by_beir(folder: Path, size: int) -> Reading:
    from beir.retrieval.evaluation import EvaluateRetrieval

    ids, judged = inputs(folder)
    with measured() as reading:
        qrels, run = tables(ids, judged)
        EvaluateRetrieval.evaluate(qrels, run, list(CUTOFFS))
    return reading


STAGE = Stage(
    "measure ranked results",
    "queries",
    f"{len(MEASURES)} measures, {DEPTH} results and {JUDGED} judgements each; from arrays, tables"
    " of strings included",
    (10_000, 20_000, 40_000),
    (500, 1000, 2000),
    prepare,
    {"pyrite": ours, "pytrec_eval": by_pytrec_eval, "beir": by_beir},
    frozenset({"pytrec_eval"}),
)

"""The same ranking by beir's own evaluator."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import MissingExtraError
from .as_run import as_run
from .search import Searched

_PLAIN = {"ndcg": "NDCG", "map": "MAP", "recall": "Recall", "precision": "P"}
_CUSTOM = {"mrr": ("mrr", "MRR"), "r_cap": ("r_cap", "R_cap"), "success": ("accuracy", "Accuracy")}


def by_beir(found: Searched, measures: Sequence[str]) -> dict[str, float]:
    """Those of the measures that beir has, rounded by it to five places.

    Its rule about equal ids of query and document is switched off: `eval.identical_ids` has been
    applied. Raises MissingExtraError without the package.
    """
    try:
        from beir.retrieval.evaluation import EvaluateRetrieval
    except ImportError as error:
        raise MissingExtraError("eval.also=[beir]", "beir", "beir") from error
    judged, run = as_run(found)
    parts = {m: m.partition("@") for m in measures if "@" in m}
    cutoffs = sorted({int(k) for _, _, k in parts.values()})
    if not cutoffs:
        return {}
    plain = EvaluateRetrieval.evaluate(judged, run, cutoffs, ignore_identical_ids=False)
    merged = {name: value for group in plain for name, value in group.items()}
    values = {}
    for measure, (base, _, k) in parts.items():
        if base in _PLAIN:
            values[measure] = float(merged[f"{_PLAIN[base]}@{k}"])
        elif base in _CUSTOM:
            metric, name = _CUSTOM[base]
            custom = EvaluateRetrieval.evaluate_custom(judged, run, [int(k)], metric)
            values[measure] = float(custom[f"{name}@{k}"])
    return values

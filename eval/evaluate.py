"""The verb `eval`: encode, search, measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.encoder import Encoder
from ..core.engine.config import anywhere
from ..core.errors import PyriteError
from ..core.run import build_encoder, check_folders
from ..core.store import discard
from ..indexes.export import export_candidates
from .config import EvalConfig
from .measures import with_judged
from .results import RANKING, Evaluation, data_digests, write_evaluation
from .search import Searched, search_held_out


def refuse_several(config: EvalConfig, remedy: str) -> None:
    """Raise PyriteError if the section `eval` names what only a table has."""
    for key in ("models", "runs", "datasets", "also", "mteb_tasks", "mteb_benchmarks"):
        if getattr(config.eval, key):
            raise PyriteError(f"eval.{key} is for {remedy}; remove it")


def evaluate(config: EvalConfig, encoder: Encoder | None = None) -> Evaluation:
    """Evaluate the configured model on the configured dataset: `<runs_dir>/<name>/eval`.

    Raises PyriteError for a configuration of several, which is for `evaluate_all`.
    """
    refuse_several(config, "pyrite.evaluate_all or pyrite eval")
    check_folders(config)
    if encoder is None and config.eval.source.kind == "dense":
        encoder = build_encoder(config)
    return measure(config, encoder, config.run_folder / "eval")[1]


def measure(
    config: EvalConfig, encoder: Encoder | None, folder: Path
) -> tuple[Searched, Evaluation]:
    """Search, measure and keep in `folder` what `results.read_evaluation` reads."""
    found = search_held_out(config, encoder)
    evaluation = found.evaluate(with_judged(config.eval.measures), found.ids)
    discard(folder)
    export_candidates(found.candidates, found.inputs.queries, found.inputs.corpus, folder / RANKING)
    facts: dict[str, Any] = {
        "retriever": config.eval.source.label,
        "model": config.encoder.model if encoder is not None else None,
        "query_model": config.eval.query_model,
        "dataset": config.dataset.path,
        "split": config.dataset.eval_split,
        "convention": found.convention,
        "n_identical": found.identical,
        "digests": data_digests(found.inputs, found.qrels),
    }
    write_evaluation(
        folder,
        evaluation,
        facts,
        config=anywhere(config).model_dump(mode="json"),
        seed=config.seed,
        counts={"queries": len(evaluation.query_ids)},
    )
    return found, evaluation

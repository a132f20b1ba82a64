"""The verb `eval`: encode, search, measure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from ..core.config import Section
from ..core.encoder import Encoder
from ..core.run import RunConfig, build_encoder, prepare
from ..core.store import Manifest, discard, write_json
from ..indexes.retrieve import RetrieveConfig, retrieve
from .measures import F64, cutoff, per_query

logger = logging.getLogger(__name__)

DEFAULT_MEASURES = ("ndcg@10", "mrr@10", "recall@100")


class EvalSection(Section):
    """What to measure."""

    measures: tuple[str, ...] = Field(DEFAULT_MEASURES, min_length=1)
    block_queries: int = Field(256, ge=1, description="queries searched at a time")

    @field_validator("measures")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        cutoff(names)
        return names


class EvalConfig(RunConfig):
    """A model, a dataset, and what to measure."""

    eval: EvalSection = EvalSection()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures of one system: each query's value, aligned with `query_ids`, and the means."""

    query_ids: list[str]
    values: dict[str, F64]

    def means(self) -> dict[str, float]:
        """Mean of each measure over all judged queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


def evaluate_encoder(config: EvalConfig, encoder: Encoder) -> Evaluation:
    """Search the evaluation split's queries in the whole corpus, exactly, and measure.

    In a corpus that is smaller than the deepest cutoff every document is ranked.
    """
    prepared = prepare(config, encoder, config.dataset.eval_split)
    depth = min(cutoff(config.eval.measures), len(prepared.corpus))
    if depth < cutoff(config.eval.measures):
        logger.warning("the corpus has %d documents: the run is shorter than the cutoff", depth)
    candidates, _ = retrieve(
        prepared.queries,
        prepared.corpus,
        prepared.dataset.corpus.ids.rank_N,
        RetrieveConfig(depth=depth, block_queries=config.eval.block_queries),
        config.cache,
        config.threads,
    )
    rows = candidates.query_rows
    values = per_query(config.eval.measures, prepared.qrels, rows, np.asarray(candidates.ids))
    return Evaluation(prepared.dataset.queries.id_strings(rows), values)


def evaluate(config: EvalConfig, encoder: Encoder | None = None) -> Evaluation:
    """Evaluate the configured model and write `<runs_dir>/<name>/eval/results.json`."""
    evaluation = evaluate_encoder(config, encoder or build_encoder(config))
    folder = config.run_folder / "eval"
    discard(folder)
    result: dict[str, Any] = {
        "model": config.encoder.model,
        "dataset": config.dataset.path,
        "split": config.dataset.eval_split,
        "queries": len(evaluation.query_ids),
        "measures": evaluation.means(),
    }
    write_json(folder / "results.json", result)
    Manifest.write(
        folder,
        schema=1,
        kind="evaluation",
        verb="eval",
        config=config.model_dump(mode="json"),
        seed=config.seed,
        counts={"queries": len(evaluation.query_ids)},
    )
    return evaluation

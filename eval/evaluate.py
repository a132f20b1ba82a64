"""The verb `eval`: encode, search, measure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from ..core.config import Section
from ..core.encoder import Encoder
from ..core.run import RunConfig, build_encoder, open_queries, prepare
from ..core.store import Manifest, discard, write_json
from ..indexes.retrieve import RetrieveConfig, retrieve
from ..indexes.sources import SearchInputs, SourceConfig
from .measures import F64, cutoff, per_query

logger = logging.getLogger(__name__)

DEFAULT_MEASURES = ("ndcg@10", "mrr@10", "recall@100")


class EvalSection(Section):
    """What to measure, and with which retriever."""

    measures: tuple[str, ...] = Field(DEFAULT_MEASURES, min_length=1)
    block_queries: int = Field(1024, ge=1, description="queries searched at a time")
    source: SourceConfig = Field(SourceConfig(), description="dense: the configured encoder")

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


def evaluate_encoder(config: EvalConfig, encoder: Encoder | None) -> Evaluation:
    """Search the evaluation split's queries in the whole corpus and measure.

    `encoder` may be None for a lexical retriever or a run file. In a corpus that is smaller than
    the deepest cutoff every document is ranked.
    """
    split = config.dataset.eval_split
    if encoder is not None:
        prepared = prepare(config, encoder, split)
        qrels, inputs = prepared.qrels, SearchInputs.of(prepared)
    else:
        dataset, qrels, rows = open_queries(config, split)
        inputs = SearchInputs(dataset.queries, dataset.corpus, rows, None, None)
    depth = min(cutoff(config.eval.measures), len(inputs.corpus))
    if depth < cutoff(config.eval.measures):
        logger.warning("the corpus has %d documents: the run is shorter than the cutoff", depth)
    settings = RetrieveConfig(
        depth=depth, block_queries=config.eval.block_queries, sources=(config.eval.source,)
    )
    candidates = retrieve(inputs, settings, config.cache, config.threads).candidates
    values = per_query(config.eval.measures, qrels, inputs.rows, np.asarray(candidates.ids))
    return Evaluation(inputs.queries.id_strings(inputs.rows), values)


def evaluate(config: EvalConfig, encoder: Encoder | None = None) -> Evaluation:
    """Evaluate the configured model and write `<runs_dir>/<name>/eval/results.json`."""
    if encoder is None and config.eval.source.kind == "dense":
        encoder = build_encoder(config)
    evaluation = evaluate_encoder(config, encoder)
    folder = config.run_folder / "eval"
    discard(folder)
    result: dict[str, Any] = {
        "retriever": config.eval.source.label,
        "model": config.encoder.model if encoder is not None else None,
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

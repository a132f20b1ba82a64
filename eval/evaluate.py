"""The verb `eval`: encode, search, measure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from ..core.config import Section
from ..core.encoder import Encoder
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.query_encoder import document_encoder
from ..core.run import RunConfig, build_encoder, check_folders, open_queries, prepare
from ..core.store import Manifest, discard, write_json
from ..core.tables import Qrels
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
    query_model: str | None = Field(
        None,
        min_length=1,
        description="folder of a query encoder (train.kind: query-side); documents by `encoder`",
    )

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
    found = search_held_out(config, encoder)
    return found.evaluate(config.eval.measures, found.ids)


@dataclass(frozen=True, slots=True)
class Searched:
    """What a retriever found for the held-out queries: corpus rows `ids` int64 [Q, K]."""

    inputs: SearchInputs
    qrels: Qrels
    ids: I64

    def evaluate(self, measures: Sequence[str], ids_QK: I64) -> Evaluation:
        """Measure a ranking of the same queries."""
        values = per_query(measures, self.qrels, self.inputs.rows, ids_QK)
        return Evaluation(self.inputs.queries.id_strings(self.inputs.rows), values)


def search_held_out(config: EvalConfig, encoder: Encoder | None, depth: int = 1) -> Searched:
    """Search as `evaluate_encoder` does, at least `depth` documents deep if there are as many."""
    split = config.dataset.eval_split
    if encoder is not None:
        asking = _query_encoder(config, encoder)
        prepared = prepare(config, encoder, split, query_encoder=asking)
        qrels, inputs = prepared.qrels, SearchInputs.of(prepared)
    else:
        dataset, qrels, rows = open_queries(config, split)
        inputs = SearchInputs(dataset.queries, dataset.corpus, rows, None, None)
    depth = min(max(cutoff(config.eval.measures), depth), len(inputs.corpus))
    if depth < cutoff(config.eval.measures):
        logger.warning("the corpus has %d documents: the run is shorter than the cutoff", depth)
    settings = RetrieveConfig(
        depth=depth, block_queries=config.eval.block_queries, sources=(config.eval.source,)
    )
    found = retrieve(inputs, settings, config.cache, config.threads, "eval.source")
    return Searched(inputs, qrels, np.asarray(found.candidates.ids))


def _query_encoder(config: EvalConfig, documents: Encoder) -> Encoder | None:
    model = config.eval.query_model
    if model is None:
        return None
    if not Path(model).is_dir():
        raise PyriteError(
            f"eval.query_model={model!r}: no such folder; set eval.query_model to the model folder"
            " below models/query_side of a run with train.kind=query-side"
        )
    trained_for = document_encoder(model)
    if trained_for is None:
        logger.warning(
            "eval.query_model=%s: no manifest beside it says which model encodes its documents;"
            " taking encoder.model=%s",
            model,
            config.encoder.model,
        )
    elif trained_for["fingerprint"] != documents.fingerprint:
        raise PyriteError(
            f"eval.query_model={model}: was trained against documents encoded by"
            f" {trained_for['model']} ({trained_for['fingerprint'][:12]}), but encoder.model="
            f"{config.encoder.model} is another ({documents.fingerprint[:12]}); set the section"
            " encoder as it was for the training"
        )
    asking = config.encoder.model_copy(update={"model": model})
    return build_encoder(config.model_copy(update={"encoder": asking}))


def evaluate(config: EvalConfig, encoder: Encoder | None = None) -> Evaluation:
    """Evaluate the configured model and write `<runs_dir>/<name>/eval/results.json`."""
    check_folders(config)
    if encoder is None and config.eval.source.kind == "dense":
        encoder = build_encoder(config)
    evaluation = evaluate_encoder(config, encoder)
    folder = config.run_folder / "eval"
    discard(folder)
    result: dict[str, Any] = {
        "retriever": config.eval.source.label,
        "model": config.encoder.model if encoder is not None else None,
        "query_model": config.eval.query_model,
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

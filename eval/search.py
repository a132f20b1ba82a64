"""What a retriever finds for the held-out queries, and its measures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.candidates import Candidates
from ..core.encoder import Encoder
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.query_encoder import document_encoder
from ..core.run import build_encoder, open_queries, prepare
from ..core.tables import Qrels
from ..indexes.retrieve import RetrieveConfig, retrieve
from ..indexes.sources import SearchInputs
from ..indexes.topk import order_rows
from .config import Convention, EvalConfig
from .identical_ids import without_identical
from .measures import cutoff, per_query
from .results import Evaluation

logger = logging.getLogger(__name__)


def evaluate_encoder(config: EvalConfig, encoder: Encoder | None) -> Evaluation:
    """Search the evaluation split's queries in the whole corpus and measure.

    `encoder` may be None for a lexical retriever or a run file. In a corpus that is smaller than
    the deepest cutoff every document is ranked.
    """
    found = search_held_out(config, encoder)
    return found.evaluate(config.eval.measures, found.ids)


@dataclass(frozen=True, slots=True)
class Searched:
    """What a retriever found for the held-out queries.

    `identical` results had the id of their query and were taken out.
    """

    inputs: SearchInputs
    qrels: Qrels
    candidates: Candidates
    identical: int = 0
    convention: Convention = "pyrite"

    @property
    def ids(self) -> I64:
        """Ranked corpus rows, int64 [Q, K], padded with -1."""
        return np.asarray(self.candidates.ids)

    def evaluate(self, measures: Sequence[str], ids_QK: I64) -> Evaluation:
        """Measure a ranking of the same queries."""
        rows, missing = self.inputs.rows, (ids_QK < 0).all(axis=1)
        if self.convention == "trec_eval":
            rows, ids_QK = rows[~missing], ids_QK[~missing]
            if not rows.size:
                raise PyriteError(
                    "no query has a result, and eval.convention=trec_eval leaves such queries out;"
                    " set eval.convention=pyrite or check the run's query ids"
                )
        values = per_query(measures, self.qrels, rows, ids_QK)
        return Evaluation(self.inputs.queries.id_strings(rows), values, int(missing.sum()))


def search_held_out(config: EvalConfig, encoder: Encoder | None, depth: int = 1) -> Searched:
    """Search as `evaluate_encoder` does, at least `depth` documents deep if there are as many.

    Where results with the query's own id are taken out, one more is searched for, so that as many
    remain.
    """
    split, trec_eval = config.dataset.eval_split, config.eval.convention == "trec_eval"
    if encoder is not None:
        asking = query_encoder(config, encoder)
        prepared = prepare(config, encoder, split, query_encoder=asking, all_judged=trec_eval)
        qrels, inputs = prepared.qrels, SearchInputs.of(prepared)
    else:
        dataset, qrels, rows = open_queries(config, split, all_judged=trec_eval)
        inputs = SearchInputs(dataset.queries, dataset.corpus, rows, None, None)
    drop = config.drops_identical
    depth = min(max(cutoff(config.eval.measures), depth), len(inputs.corpus))
    if depth < cutoff(config.eval.measures):
        logger.warning("the corpus has %d documents: the run is shorter than the cutoff", depth)
    settings = RetrieveConfig(
        depth=min(depth + drop, len(inputs.corpus)),
        block_queries=config.eval.block_queries,
        sources=(config.eval.source,),
    )
    found = retrieve(inputs, settings, config.cache, config.threads, "eval.source").candidates
    identical = 0
    if drop:
        found, identical = without_identical(found, inputs.queries, inputs.corpus, depth)
    if trec_eval:
        found = _ties_by_id_descending(found, inputs)
    return Searched(inputs, qrels, found, identical, config.eval.convention)


def _ties_by_id_descending(found: Candidates, inputs: SearchInputs) -> Candidates:
    ids, scores = np.asarray(found.ids), np.asarray(found.scores)
    ids, scores = order_rows(ids, scores, -inputs.corpus.ids.rank_N, ids.shape[1])
    return Candidates.of_one(found.query_rows, ids, scores, found.sources[0])


def query_encoder(config: EvalConfig, documents: Encoder) -> Encoder | None:
    """The encoder of `eval.query_model`, None where `documents` encodes queries too."""
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

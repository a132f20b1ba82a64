"""`pyrite train` with `train.kind: query-side`: a query encoder for document vectors that stay."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.dataset import open_dataset, text_hashes
from ..core.digest import digest_array, digest_json
from ..core.encoder import Encoder
from ..core.ids import I64
from ..core.query_encoder import FIELD, DocumentEncoder
from ..core.run import Prepared, prepare_mining
from ..core.sbert import SentenceTransformerEncoder, load_model, prompt_for
from ..eval.results import Evaluation
from ..eval.search import evaluate_encoder
from ..indexes.config import KEY, IndexConfig
from ..indexes.dense import open_exact
from ..miner.equal_queries import share_positives
from ..miner.mine import Mined, mine
from .arguments import check_training
from .early_stopping import DevEvaluator
from .fit import finished, fit
from .model_card import write_card
from .query_lists import Judgements
from .query_side import QuerySideLoss, check_depth
from .train_config import NOT_IN_KEY

if TYPE_CHECKING:
    import datasets
    from sentence_transformers import SentenceTransformer

    from .run_config import TrainConfig

logger = logging.getLogger(__name__)

SCHEMA = 1
BASE, QUERY_SIDE = "base", "query_side"
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The frozen vectors, what is known of the queries, and the rows of those to learn from."""

    prepared: Prepared
    judgements: Judgements
    rows: I64

    @classmethod
    def of(cls, config: TrainConfig, encoder: Encoder) -> _Inputs:
        prepared = prepare_mining(config, encoder)
        dataset = prepared.dataset
        positives = dataset.qrels(config.dataset.train_split, config.dataset.min_grade)
        query_texts = np.asarray(text_hashes(dataset.queries, config.cache))
        doc_texts = np.asarray(text_hashes(dataset.corpus, config.cache))
        known = share_positives(prepared.qrels, query_texts)
        judgements = Judgements.of(positives, known, query_texts, doc_texts)
        return cls(prepared, judgements, prepared.queries.rows)

    @property
    def most_positives(self) -> int:
        return max(self.judgements.positives.positives(int(row)).size for row in self.rows)

    def key(self) -> dict[str, object]:
        """What of the data decides the weights."""
        qrels = self.judgements.positives
        arrays = (qrels.indptr, qrels.docs, qrels.grades, self.judgements.known, self.rows)
        return {
            "dataset": self.prepared.dataset.digest(),
            "documents": self.prepared.corpus.identity,
            "judgements": [digest_array(array) for array in arrays],
            "min_grade": qrels.min_grade,
        }


def train_query_side(config: TrainConfig) -> tuple[Mined, dict[str, Evaluation]]:
    """Mine what is not mined yet, train the query encoder, evaluate it on the base's documents.

    Writes `models/query_side`, whose manifest names the encoder of the documents.
    """
    check_training(config.train, config.encoder.device)
    check_depth(config.train.neg_topk, len(open_dataset(config.dataset, config.cache).corpus))
    encoder = SentenceTransformerEncoder(config.encoder)
    mined = mine(config, encoder)
    inputs = _Inputs.of(config, encoder)
    evaluations = {BASE: evaluate_encoder(config, encoder)}
    folder = _trained(config, inputs, encoder.fingerprint)
    section = config.eval.model_copy(update={"query_model": str(folder / "model")})
    tuned = config.model_copy(update={"eval": section})
    evaluations[QUERY_SIDE] = evaluate_encoder(tuned, encoder)
    logger.info(
        "%s encodes queries only; its documents are those of encoder.model=%s (%s)",
        folder / "model",
        config.encoder.model,
        encoder.fingerprint[:12],
    )
    _write_card(config, folder, encoder, evaluations)
    return mined, evaluations


def _trained(config: TrainConfig, inputs: _Inputs, fingerprint: str) -> Path:
    """The folder of the trained query encoder, trained if it is not there."""
    section, folder = config.train, config.run_folder / "models" / QUERY_SIDE
    stopping, corpus = section.early_stopping, inputs.prepared.corpus
    dev = DevEvaluator(config, stopping, corpus) if stopping.split else None
    key = digest_json(
        {
            "schema": SCHEMA,
            "system": QUERY_SIDE,
            "model": fingerprint,
            "seed": config.seed,
            "train": section.model_dump(mode="json", exclude=NOT_IN_KEY),
            "dev": dev.key if dev else None,
            **inputs.key(),
        }
    )
    if finished(folder, key) is not None:
        logger.info("%s: trained already", folder)
        return folder
    model = load_model(config.encoder)
    loss = _loss(config, inputs, model)
    prompt = prompt_for(model, config.encoder, "query")
    documents: DocumentEncoder = {"model": config.encoder.model, "fingerprint": fingerprint}
    logger.info(
        "training %s: %d queries, %d documents searched for each at every step, at most %d MiB"
        " beside the encoder and the mapped vectors",
        QUERY_SIDE,
        inputs.rows.size,
        section.neg_topk,
        -(-loss.memory_bytes(section.batch_size, inputs.most_positives) // _MIB),
    )
    start = time.perf_counter()
    fit(
        model,
        loss,
        _queries(inputs),
        section,
        folder,
        key,
        config.seed,
        {"query": prompt} if prompt else {},
        dev=dev,
        facts={FIELD: documents, "document_vectors": corpus.identity},
    )
    seconds = time.perf_counter() - start
    logger.info(
        "searching took %.1f s of the training's %.1f s (%.0f%%); %d queries had no negative among"
        " the documents found and were left out of their step",
        loss.search_seconds,
        seconds,
        100 * loss.search_seconds / seconds,
        loss.unranked,
    )
    return folder


def _loss(config: TrainConfig, inputs: _Inputs, model: SentenceTransformer) -> QuerySideLoss:
    prepared = inputs.prepared
    dense = (
        (s.index, f"retrieve.sources[{at}].index")
        for at, s in enumerate(config.retrieve.sources)
        if s.kind == "dense"
    )
    index, key = next(dense, (IndexConfig(), KEY))
    rank = prepared.dataset.corpus.ids.rank_N
    return QuerySideLoss(
        model,
        open_exact(index, prepared.corpus, rank, config.threads, key),
        prepared.corpus,
        inputs.judgements,
        config.train.loss,
        config.train.neg_topk,
        config.encoder.normalize,
    )


def _queries(inputs: _Inputs) -> datasets.Dataset:
    import datasets

    texts = inputs.prepared.dataset.queries.texts(inputs.rows)
    return datasets.Dataset.from_dict({"query": texts, "label": inputs.rows.tolist()})


def _write_card(
    config: TrainConfig, folder: Path, encoder: Encoder, evaluations: dict[str, Evaluation]
) -> None:
    facts = {
        "encodes": "queries only",
        "documents must be encoded by": config.encoder.model,
        "fingerprint of the documents' encoder": encoder.fingerprint,
        "dataset": config.dataset.path,
        "training split": config.dataset.train_split,
        "held-out split": config.dataset.eval_split,
        "negatives": f"the best {config.train.neg_topk} documents of each step's own search",
    }
    model = load_model(config.encoder.model_copy(update={"model": str(folder / "model")}))
    how = "By Pyrite, on the query side: it is no encoder of documents."
    write_card(model, folder / "model", config, facts, evaluations, how)

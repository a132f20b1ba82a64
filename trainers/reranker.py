"""A cross-encoder trained on mined negatives, by sentence-transformers' trainer and losses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.beir import Dataset
from ..core.candidates import PAD_ID
from ..core.cross_encoder import load_cross_encoder
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.tables import Qrels
from ..miner.negatives_file import NegativeRows
from .arguments import arguments
from .fit import run_trainer, set_dropout
from .reranker_config import Loss, RerankerSection

if TYPE_CHECKING:
    import datasets
    from sentence_transformers import CrossEncoder

KNOB = "reranker"


@dataclass(frozen=True, slots=True)
class Judged:
    """Documents to learn from: `labels` int64 [R] is 1 for a positive and 0 for a negative.

    `queries` and `docs` int64 [R] are table rows, those of one query together, positives first.
    `missing` counts the negatives that queries should have and have not.
    """

    queries: I64
    docs: I64
    labels: I64
    missing: int


def judged_pairs(qrels: Qrels, negatives: NegativeRows, n: int) -> Judged:
    """Every positive of the mined queries, and each query's first `n` negatives."""
    queries, docs, labels = [], [], []
    found = negatives.ids[:, :n]
    for row, ids in zip(negatives.query_rows, found, strict=True):
        positives, chosen = qrels.positives(int(row)), ids[ids != PAD_ID]
        docs += [positives, chosen]
        labels += [np.ones_like(positives), np.zeros_like(chosen)]
        queries.append(np.full(positives.size + chosen.size, row, dtype=np.int64))
    missing = int((found == PAD_ID).sum()) + negatives.query_rows.size * (n - found.shape[1])
    return Judged(np.concatenate(queries), np.concatenate(docs), np.concatenate(labels), missing)


def reranker_dataset(judged: Judged, dataset: Dataset, loss: Loss) -> tuple[datasets.Dataset, int]:
    """Texts in the columns that the loss expects, and how many queries were left out.

    A list without a negative has nothing to order, so `lambda` and `list-net` leave it out.
    """
    import datasets

    queries = dataset.queries.texts(judged.queries)
    docs = dataset.corpus.texts(judged.docs)
    if loss == "binary-cross-entropy":
        pairs = {"query": queries, "document": docs, "label": judged.labels.astype(float)}
        return datasets.Dataset.from_dict(pairs), 0
    borders = np.flatnonzero(np.diff(judged.queries, prepend=-1, append=-1))
    columns: dict[str, list[Any]] = {"query": [], "documents": [], "label": []}
    for start, stop in itertools.pairwise(borders):
        labels = judged.labels[start:stop].tolist()
        if 0 in labels:
            columns["query"].append(queries[start])
            columns["documents"].append(docs[start:stop])
            columns["label"].append(labels)
    left_out = max(borders.size - 1, 0) - len(columns["query"])
    return datasets.Dataset.from_dict(columns), left_out


def load_start(config: RerankerSection, seed: int) -> CrossEncoder:
    """The model to start from; a new head's weights follow from `seed`.

    Raises PyriteError as `load_cross_encoder`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return load_cross_encoder(config.model, config, KNOB, labels=1)


def fit_reranker(
    model: CrossEncoder,
    texts: datasets.Dataset,
    config: RerankerSection,
    folder: Path,
    key: str,
    seed: int,
) -> float:
    """Train `model` in place and save it to `folder`; returns the mean training loss.

    Killed and continued as `fit` is. Raises PyriteError if the rows do not fill one batch.
    """
    from sentence_transformers.cross_encoder import (
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        losses,
    )

    if len(texts) < config.batch_size:
        raise PyriteError(
            f"reranker.batch_size={config.batch_size}, but there are {len(texts)} training rows"
            f" (reranker.loss={config.loss}); set reranker.batch_size to at most {len(texts)}"
        )
    if config.dropout is not None:
        set_dropout(model, config.dropout)
    kinds = {
        "binary-cross-entropy": losses.BinaryCrossEntropyLoss,
        "lambda": losses.LambdaLoss,
        "list-net": losses.ListNetLoss,
    }
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments(CrossEncoderTrainingArguments, model, config, folder, seed),
        train_dataset=texts,
        loss=kinds[config.loss](model),
    )
    return run_trainer(trainer, folder, key)

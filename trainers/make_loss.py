"""The loss that a configuration names, with the vectors and clusters that it looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.run import Prepared, RunConfig, build_encoder, prepare_mining
from ..miner.clusters import open_clusters
from ..miner.vectors import Vectors
from .distil_base import BaseDistilledLoss
from .guide import Guide
from .loss import ContrastiveLoss
from .masks import Known
from .train_config import TrainSection
from .training_set import TrainingSet

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def make_loss(
    run: RunConfig,
    config: TrainSection,
    n_clusters: int,
    model: SentenceTransformer,
    rows: TrainingSet,
) -> torch.nn.Module:
    """`config.loss` for `model` on `rows`, distilled from the base and at several widths if asked.

    A guide's vectors are encoded once for the whole dataset, or read where mining has kept them.
    """
    guide, clusters = None, None
    if config.loss.needs_guide or config.loss.name == "cluster_ns":
        guided = run.model_copy(update={"encoder": config.guide or run.encoder})
        prepared = prepare_mining(guided, build_encoder(guided))
        guide = _guide(prepared, rows)
        if config.loss.name == "cluster_ns":
            rank = prepared.dataset.corpus.ids.rank_N
            found = open_clusters(prepared.corpus, rank, n_clusters, run.seed, run.cache)
            clusters = torch.from_numpy(found.assign[rows.row_of_T].astype(np.int64))
    options: dict[str, Any] = {
        "known": Known(torch.from_numpy(rows.known), rows.span),
        "guide": guide if config.loss.needs_guide else None,
        "clusters": clusters,
        "mini_batch_size": config.mini_batch_size,
        "mini_batch_num_tokens": config.mini_batch_tokens,
        "gather_across_devices": torch.distributed.is_initialized(),
        "seed": run.seed,
    }
    if not config.distil_base:
        return _at_widths(ContrastiveLoss(model, config.loss, **options), model, config)
    base = _guide(prepare_mining(run, build_encoder(run)), rows)
    distilled = BaseDistilledLoss(
        model, config.loss, base=base, weight=config.distil_base, **options
    )
    return _at_widths(distilled, model, config)


def _at_widths(
    loss: ContrastiveLoss, model: SentenceTransformer, config: TrainSection
) -> torch.nn.Module:
    """The loss summed over `config.matryoshka_dims` (Kusupati et al., arXiv 2205.13147)."""
    if not config.matryoshka_dims:
        return loss
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    matryoshka: torch.nn.Module = MatryoshkaLoss(model, loss, config.matryoshka_dims)
    return matryoshka


def _guide(prepared: Prepared, rows: TrainingSet) -> Guide:
    return Guide(Vectors.of(prepared), rows.row_of_T)

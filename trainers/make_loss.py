"""The loss that a configuration names, with the vectors and clusters that it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..core.run import RunConfig, build_encoder, prepare_mining
from ..miner.clusters import open_clusters
from ..miner.vectors import Vectors
from .distil_base import BaseDistilledLoss
from .guide import FrozenVectors, Guide
from .loss import ContrastiveLoss
from .masks import Known
from .mixed_feed import MixedRows
from .mixed_guide import MixedGuide
from .train_config import TrainSection
from .training_set import TrainingSet

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def make_loss(
    run: RunConfig,
    config: TrainSection,
    n_clusters: int,
    model: SentenceTransformer,
    rows: TrainingSet | MixedRows,
    runs: Sequence[RunConfig] = (),
) -> torch.nn.Module:
    """`config.loss` for `model` on `rows`, distilled from the base and at several widths if asked.

    A guide's vectors are encoded once for the whole dataset, or read where mining has kept them.
    `runs` are those of the sets of mixed rows.
    """
    guide, clusters = None, None
    runs = runs or (run,)
    if config.loss.needs_guide:
        guided = [guided_run(one, config) for one in runs]
        guide = _guide(guided, rows, config.loss.guide_similarity or "cos")
    if config.loss.name == "cluster_ns" and isinstance(rows, TrainingSet):
        clusters = _clusters(guided_run(run, config), n_clusters, rows)
    options: dict[str, Any] = {
        "known": Known(torch.from_numpy(rows.known), rows.span),
        "guide": guide,
        "clusters": clusters,
        "mini_batch_size": config.mini_batch_size,
        "mini_batch_num_tokens": config.mini_batch_tokens,
        "gather_across_devices": torch.distributed.is_initialized(),
        "seed": run.seed,
    }
    if not config.distil_base:
        return _at_widths(ContrastiveLoss(model, config.loss, **options), model, config)
    base = _guide(runs, rows, "cos")
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


def guided_run(run: RunConfig, config: TrainSection) -> RunConfig:
    """The run with the encoder whose vectors a loss looks up, by default its own."""
    return run.model_copy(update={"encoder": config.guide or run.encoder})


def guide_facts(run: RunConfig, config: TrainSection, fingerprint: str) -> dict[str, str] | None:
    """Name and fingerprint of the encoder whose vectors the loss looks up, if it does.

    `fingerprint` is that of the run's own encoder.
    """
    if not config.loss.looks_up:
        return None
    encoder = guided_run(run, config)
    found = fingerprint if config.guide is None else build_encoder(encoder).fingerprint
    return {"model": encoder.encoder.model, "fingerprint": found}


def _guide(
    runs: Sequence[RunConfig],
    rows: TrainingSet | MixedRows,
    similarity: Literal["cos", "dot"],
) -> FrozenVectors:
    sets = rows.sets if isinstance(rows, MixedRows) else (rows,)
    found = []
    for run, one in zip(runs, sets, strict=True):
        vectors = Vectors.of(prepare_mining(run, build_encoder(run)))
        found.append(Guide(vectors, one.row_of_T, similarity))
    return MixedGuide(rows, tuple(found)) if isinstance(rows, MixedRows) else found[0]


def _clusters(run: RunConfig, n_clusters: int, rows: TrainingSet) -> torch.Tensor:
    """The cluster of each text, int64 [T]."""
    prepared = prepare_mining(run, build_encoder(run))
    rank = prepared.dataset.corpus.ids.rank_N
    found = open_clusters(prepared.corpus, rank, n_clusters, run.seed, run.cache)
    return torch.from_numpy(found.assign[rows.row_of_T].astype(np.int64))

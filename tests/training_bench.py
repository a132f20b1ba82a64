"""A model, rows and options to train in a test, and a kill in the middle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from fakes import toy_dataset
from tiny_model import tiny_model
from torch import Tensor

from pyrite.core.run import build_encoder, prepare_mining
from pyrite.core.sbert import load_model
from pyrite.core.store import Manifest
from pyrite.miner.negatives_file import NegativeRows
from pyrite.trainers.dev_pool import dev_pool
from pyrite.trainers.early_stopping import DevEvaluator
from pyrite.trainers.fit import fit
from pyrite.trainers.interpolate import copy_weights
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.make_loss import make_loss
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import TrainingSet, as_dataset, training_set

if TYPE_CHECKING:
    import datasets


Weights = dict[str, Tensor]


BATCH = 16


LORA = {"r": 4, "alpha": 8.0, "dropout": 0.1}


STOPPING = {"split": "dev", "every": 2, "patience": 2}


class KilledError(Exception):
    """Stands for a kill in the middle of training."""


@dataclass(frozen=True)
class Bench:
    """The toy dataset with a development split, a model with dropout, and training rows."""

    run: TrainConfig
    rows: TrainingSet
    texts: datasets.Dataset

    def config(self, **train: Any) -> TrainConfig:
        fields: dict[str, Any] = {"steps": 6, "batch_size": BATCH, "save_every": 2}
        section = TrainSection(**{**fields, "learning_rate": 1e-3, **train})
        return self.run.model_copy(update={"train": section})

    def train(self, folder: Path, **changes: Any) -> Weights:
        """Train a fresh copy of the model; the weights it ends with."""
        config = self.config(**changes)
        model = load_model(config.encoder)
        loss = make_loss(config, config.train, 0, model, self.rows)
        stopping = config.train.early_stopping
        dev = DevEvaluator(config, stopping) if stopping.split else None
        if dev is not None and stopping.pool_depth:
            encoder = build_encoder(config)
            dev.within(dev_pool(config, encoder, str(stopping.split), stopping.pool_depth))
        fit(model, loss, self.texts, config.train, folder, "key", 0, {}, dev=dev)
        return copy_weights(model)

    def untrained(self) -> Weights:
        return copy_weights(load_model(self.run.encoder))


def make_bench(home: Path) -> Bench:
    """A bench below `home`."""
    data = toy_dataset(home / "toy")
    split_dev(data)
    run = TrainConfig.model_validate(
        {
            "runs_dir": str(home / "runs"),
            "cache_dir": str(home / "cache"),
            "threads": 1,
            "dataset": {"path": str(data)},
            "encoder": {"model": str(tiny_model(home / "tiny")), "max_length": 32},
        }
    )
    prepared = prepare_mining(run, build_encoder(run))
    queries = prepared.qrels.with_positives()
    size = (queries.size, 2)
    ids = np.random.default_rng(0).integers(-1, len(prepared.dataset.corpus), size)
    hashes = np.arange(len(prepared.dataset.corpus), dtype=np.uint64)
    rows = training_set(prepared.qrels, NegativeRows(queries, ids), hashes, 2)
    return Bench(run, rows, as_dataset(rows, prepared.dataset))


def split_dev(data: Path) -> None:
    """Make every other test query's judgements a split of its own, `dev`."""
    path = data / "qrels" / "test.tsv"
    head, *lines = path.read_text("utf-8").splitlines()
    queries = sorted({line.split("\t")[0] for line in lines})[::2]
    for name, wanted in (("dev", True), ("test", False)):
        kept = [line for line in lines if (line.split("\t")[0] in queries) is wanted]
        (data / "qrels" / f"{name}.tsv").write_text("\n".join([head, *kept]) + "\n", "utf-8")


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def facts_of(folder: Path) -> dict[str, Any]:
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)
    return manifest.data


@contextlib.contextmanager
def killed_after(calls: int) -> Iterator[None]:
    """Die in the loss's forward pass after so many of them."""
    seen = 0
    forward = ContrastiveLoss.forward

    def die(self: ContrastiveLoss, features: Any, labels: Any = None) -> Tensor:
        nonlocal seen
        seen += 1
        if seen > calls:
            raise KilledError
        return forward(self, features, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContrastiveLoss, "forward", die)
        with pytest.raises(KilledError):
            yield

"""Short trainings of a tiny model whose negatives are refreshed: what refresh tests share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from fakes import toy_dataset
from sentence_transformers import SentenceTransformer
from tiny_model import tiny_model
from torch import Tensor

from pyrite.core.beir import Dataset
from pyrite.core.config import parse_config
from pyrite.core.dataset import open_dataset
from pyrite.core.sbert import SentenceTransformerEncoder
from pyrite.miner.mine import Mined, mine
from pyrite.miner.negatives_file import FILE
from pyrite.trainers.generations import Generation, Generations
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.refresh_home import TRAINING, RefreshHome
from pyrite.trainers.refresh_log import RefreshLog
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train import train_system

STEPS = 14


class KilledError(Exception):
    """Stands for a kill in the middle of training."""


@dataclass(frozen=True)
class RefreshBench:
    """A toy dataset and a model; each run is a folder of its own below `folder`."""

    folder: Path

    @classmethod
    def build(cls, folder: Path, dropout: float = 0.1) -> RefreshBench:
        toy_dataset(folder / "toy")
        tiny_model(folder / "tiny", dropout)
        return cls(folder)

    def config(self, name: str, refresh: dict[str, Any], **changes: Any) -> TrainConfig:
        """Fourteen steps of two an epoch, 3 negatives a row; `changes` are of sections."""
        sections: dict[str, Any] = {
            "name": name,
            "runs_dir": str(self.folder / "runs"),
            "cache_dir": str(self.folder / "cache"),
            "threads": 1,
            "seed": 3,
            "dataset": {"path": str(self.folder / "toy")},
            "encoder": {"model": str(self.folder / "tiny" / "model"), "max_length": 32},
            "retrieve": {"depth": 60},
            "filters": {"percent": None},
            "sampler": {"n": 3},
            "train": {**{"steps": STEPS, "batch_size": 16, "learning_rate": 1e-3, "save_every": 5}},
            "refresh": {"every_steps": 4, **refresh} if refresh else {},
        }
        for section, change in changes.items():
            sections[section] = {**sections[section], **change}
        return parse_config(TrainConfig, sections)

    def train(self, config: TrainConfig) -> dict[str, Tensor]:
        """Train the system `mined` of a run; the weights that it saved."""
        found = SentenceTransformer(str(self.train_only(config) / "model"), device="cpu")
        return {name: values.clone() for name, values in found.state_dict().items()}

    def train_only(self, config: TrainConfig) -> Path:
        """Train the system `mined` of a run; its folder."""
        encoder, mined = self.mined(config)
        return train_system(config, "mined", mined, encoder.fingerprint)

    def mined(self, config: TrainConfig) -> tuple[SentenceTransformerEncoder, Mined]:
        """The untrained encoder, and what it mines."""
        encoder = SentenceTransformerEncoder(config.encoder)
        return encoder, mine(config, encoder)

    def killed(self, config: TrainConfig, after: int) -> None:
        """Train, and die before the step after `after` steps."""
        with pytest.MonkeyPatch.context() as patch:
            forward, calls = ContrastiveLoss.forward, [0]

            def die(loss: ContrastiveLoss, features: Any, labels: Any) -> Tensor:
                calls[0] += 1
                if calls[0] > after:
                    raise KilledError
                return forward(loss, features, labels)

            patch.setattr(ContrastiveLoss, "forward", die)
            with pytest.raises(KilledError):
                self.train(config)

    def dataset(self) -> Dataset:
        return open_dataset(self.config("any", {}).dataset, self.folder / "cache")


def home_of(config: TrainConfig) -> RefreshHome:
    return RefreshHome.of(config.run_folder)


def generations_of(config: TrainConfig) -> list[Generation]:
    home = home_of(config)
    return Generations(home, home.read(TRAINING)["key"]).all()


def log_of(config: TrainConfig, kind: str) -> list[dict[str, Any]]:
    """Rows of the log, without what a clock says."""
    rows = RefreshLog(home_of(config).folder).rows()
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in rows
        if row["kind"] == kind
    ]


def swaps_of(config: TrainConfig) -> list[tuple[int, int, int]]:
    """(generation, decided, since)."""
    path = home_of(config).folder / "swaps.json"
    if not path.exists():
        return []
    rows = json.loads(path.read_text("utf-8"))
    return [(row["generation"], row["decided"], row["since"]) for row in rows]


def negatives_in(folder: Path) -> dict[str, list[str]]:
    """Negative ids of each query id, by plain reading."""
    rows = pq.read_table(folder / FILE).to_pylist()
    return {row["query_id"]: row["negative_ids"] for row in rows}


def numbers_in(folder: Path) -> dict[str, int]:
    """The generation that each query's negatives come from."""
    rows = pq.read_table(folder / FILE).to_pylist()
    return {row["query_id"]: row["generation"] for row in rows}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@contextlib.contextmanager
def watched() -> Iterator[list[list[list[int]]]]:
    """Query and text numbers of every batch, as they reach the loss."""
    seen: list[list[list[int]]] = []
    with pytest.MonkeyPatch.context() as patch:
        forward = ContrastiveLoss.forward

        def record(loss: ContrastiveLoss, features: Any, labels: dict[str, Tensor]) -> Tensor:
            seen.append(labels["ids"].tolist())
            return forward(loss, features, labels)

        patch.setattr(ContrastiveLoss, "forward", record)
        yield seen

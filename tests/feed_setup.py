"""A toy dataset with a pool of random negatives, fed to a tiny model: what feed tests share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fakes import BagOfWords, toy_dataset

from pyrite.core.beir import Dataset
from pyrite.core.dataset import DatasetConfig, open_dataset, text_hashes
from pyrite.core.encoder import F32
from pyrite.core.sbert import EncoderConfig, load_model
from pyrite.miner.negatives_file import NegativeRows, ScoredRows
from pyrite.trainers.feed import Feed, open_feed
from pyrite.trainers.fit import fit
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.masks import Known
from pyrite.trainers.pool import write_pool
from pyrite.trainers.row_table import RowTable, asked_of, write_rows
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import TrainingSet, training_set

BATCH, MINED = 16, 40
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class FeedBench:
    """Training rows of the toy dataset and `mined`, up to 40 random negatives for each query."""

    folder: Path
    dataset: Dataset
    pairs: TrainingSet
    mined: ScoredRows
    model: Path | None = None

    @classmethod
    def build(cls, folder: Path) -> FeedBench:
        path = str(toy_dataset(folder / "toy"))
        dataset = open_dataset(DatasetConfig(path=path), folder / "cache")
        qrels = dataset.qrels("train", 1)
        queries = qrels.with_positives()
        mined = random_pool(queries, len(dataset.corpus), seed=0)
        hashes = np.asarray(text_hashes(dataset.corpus, folder / "cache"))
        pairs = training_set(qrels, NegativeRows(queries, mined.ids), hashes, 0)
        write_pool(folder / "feed", 0, mined, asked_of(pairs), "key")
        return cls(folder, dataset, pairs, mined)

    def rows(self, positives: str = "all") -> RowTable:
        folder = self.folder / "feed" / f"rows-{positives}"
        return write_rows(folder, self.pairs, self.dataset, positives)  # type: ignore[arg-type]

    def feed(self, n: int = 2, seed: int = 0, system: str = "mined", **changes: Any) -> Feed:
        config = TrainSection(**{"batch_size": BATCH, **changes})
        rows = self.rows(config.positives)
        folder = self.folder / "feed"
        return open_feed(folder, rows, self.dataset, self.vectors(rows), config, n, seed, system)

    def vectors(self, rows: RowTable) -> F32:
        texts = self.dataset.queries.texts(rows.queries.array)
        return BagOfWords().encode_queries(texts)

    def pool_of(self, query_row: int) -> list[int]:
        """What was mined for a query, by a plain look-up."""
        place = self.mined.query_rows.tolist().index(query_row)
        return [i for i in self.mined.ids[place].tolist() if i >= 0]

    def with_model(self, model: Path) -> FeedBench:
        return replace(self, model=model)

    def train(self, folder: Path, n: int = 2, seed: int = 0, **changes: Any) -> Weights:
        """Train a fresh copy of the model for six steps of three an epoch; its last weights."""
        fields: dict[str, Any] = {"steps": 6, "batch_size": BATCH, "save_every": 2}
        config = TrainSection(**{**fields, "learning_rate": 1e-3, **changes})
        feed = self.feed(n, seed, folder.name, **config.model_dump())
        model = load_model(EncoderConfig(model=str(self.model), max_length=32))
        known = Known(torch.from_numpy(self.pairs.known), self.pairs.span)
        loss = ContrastiveLoss(model, config.loss, known=known)
        fit(model, loss, feed, config, folder, "key", seed, {})
        return {name: values.clone() for name, values in model.state_dict().items()}


def random_pool(queries: np.ndarray, documents: int, seed: int) -> ScoredRows:
    """Random documents, of which each query has another number, best score first."""
    generator = np.random.default_rng(seed)
    ids = np.stack([generator.permutation(documents)[:MINED] for _ in queries]).astype(np.int64)
    lengths = generator.integers(MINED // 2, MINED + 1, queries.size)
    lengths[:2] = (0, 1)
    pad = np.arange(MINED) >= lengths[:, None]
    scores = -np.sort(-generator.random(ids.shape), axis=1)
    return ScoredRows(
        queries,
        np.where(pad, -1, ids),
        np.where(pad, -np.inf, scores).astype(np.float32),
        np.where(pad, 0, scores / 10).astype(np.float32),
    )

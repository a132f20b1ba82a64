"""Batches for the loss module, and a model whose vectors are rows of a table."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyrite.core.embeddings import Embeddings
from pyrite.miner.vectors import Vectors
from pyrite.trainers.guide import Guide
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.loss_config import LossSection
from pyrite.trainers.masks import MISSING, Known

TEXTS, QUERIES, DIMENSION = 12, 5, 8
SPAN = TEXTS + 1

Pairs = set[tuple[int, int]]


class Lookup(nn.Module):
    """Stands for a model: a text's vector is a row of a table, texts first, then queries."""

    def __init__(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        super().__init__()
        self.table = nn.Parameter(random_table(seed).to(dtype))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.table[features["row"]]}


def random_table(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(TEXTS + QUERIES, DIMENSION, generator=generator)


@dataclass(frozen=True)
class LossBatch:
    """Rows of (query, positive, negatives), -1 a missing negative, and what is known of them."""

    rows: list[list[int]]
    known: Pairs = field(default_factory=set)
    doubt: list[list[float]] | None = None
    teacher: list[list[float]] | None = None

    @property
    def queries(self) -> list[int]:
        return [row[0] for row in self.rows]

    @property
    def docs(self) -> list[int]:
        """Columns: all positives, all first negatives and so on."""
        return [row[at] for at in range(1, len(self.rows[0])) for row in self.rows]

    def labels(self) -> dict[str, Tensor]:
        found = {"ids": torch.tensor(self.rows)}
        if self.doubt is not None:
            found["doubt"] = torch.tensor(self.doubt).reshape(len(self.rows), -1)
        if self.teacher is not None:
            found["teacher"] = torch.tensor(self.teacher)
        return found

    def features(self) -> list[dict[str, Tensor]]:
        values = torch.tensor(self.rows)
        values[:, 1:][values[:, 1:] == MISSING] = TEXTS - 1
        values[:, 0] += TEXTS
        return [{"row": column} for column in values.T]

    def reordered(self, order: list[int]) -> LossBatch:
        def take(values: list[list[float]] | None) -> list[list[float]] | None:
            return None if values is None else [values[at] for at in order]

        rows = [self.rows[at] for at in order]
        return LossBatch(rows, self.known, take(self.doubt), take(self.teacher))


def random_batch(seed: int, rows: int | None = None, negatives: int | None = None) -> LossBatch:
    """Texts repeat, queries stand in several rows, some negatives are missing or known."""
    draw = random.Random(seed)
    size = rows or draw.randint(1, 6)
    n = draw.randint(0, 3) if negatives is None else negatives
    batch = [
        [
            draw.randrange(QUERIES),
            draw.randrange(TEXTS - 1),
            *(draw.choice([MISSING, *range(TEXTS - 1)]) for _ in range(n)),
        ]
        for _ in range(size)
    ]
    known = {(draw.randrange(QUERIES), draw.randrange(TEXTS - 1)) for _ in range(4)}
    # training has every row's positive among the judgements, a user of the loss alone may not
    known |= {(row[0], row[1]) for row in batch if seed % 2}
    doubt = [[draw.choice([0.0, 0.3, 0.95, 1.0]) for _ in range(n)] for _ in batch]
    teacher = [
        [draw.choice([float("nan"), *(draw.gauss(0, 3) for _ in range(4))]) for _ in range(1 + n)]
        for _ in batch
    ]
    return LossBatch(batch, known, doubt, teacher)


def known_of(pairs: Pairs, span: int = SPAN) -> Known:
    return Known(torch.tensor(sorted(q * span + t for q, t in pairs), dtype=torch.int64), span)


def guide_of(table: Tensor) -> Guide:
    """A guide whose vectors are the rows of `table`, as in `Lookup`."""
    docs, queries = table[:TEXTS].numpy(), table[TEXTS:].numpy()
    vectors = Embeddings.from_array(docs), Embeddings.from_array(queries), np.arange(QUERIES)
    return Guide(Vectors(*vectors), np.arange(TEXTS))


GUIDE_SEED = 99
CLUSTERS = [0, 1, 0, 2, 1, 0, 0, 1, 2, 0, 1, 2]


def make(model: Any, config: LossSection, pairs: Pairs, **options: Any) -> ContrastiveLoss:
    """The loss with the guide and the clusters that its configuration asks for."""
    if config.needs_guide:
        options.setdefault("guide", guide_of(random_table(GUIDE_SEED)))
    if config.name == "cluster_ns":
        options.setdefault("clusters", torch.tensor(CLUSTERS))
    return ContrastiveLoss(model, config, known=known_of(pairs), **options)


def loss_of(model: Lookup, batch: LossBatch, config: LossSection, **options: Any) -> Tensor:
    found: Tensor = make(model, config, batch.known, **options)(batch.features(), batch.labels())
    return found


def table_gradient(model: Lookup, loss: Tensor) -> Tensor:
    """The gradient of the model's only parameter by `loss.backward()`."""
    model.table.grad = None
    torch.autograd.backward(loss)
    assert model.table.grad is not None
    return model.table.grad

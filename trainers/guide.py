"""A frozen model's vectors, looked up by number: no second forward pass in a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.ids import I64
from ..miner.vectors import Vectors
from .logits import Sides
from .masks import MISSING, BatchIds


class FrozenVectors(Protocol):
    """What knows a batch's texts by their numbers."""

    def vectors(self, ids: BatchIds) -> Sides:
        """The batch's vectors, float32; those of missing negatives are zeros."""


@dataclass(frozen=True, slots=True)
class Guide:
    """Vectors of a guide model; `row_of_T` int64 [T] names a document row for each text number.

    With the similarity `cos` they are made unit vectors, with `dot` they stay as they are.
    """

    known: Vectors
    row_of_T: I64
    similarity: Literal["cos", "dot"] = "cos"

    def vectors(self, ids: BatchIds) -> Sides:
        """The batch's vectors, float32; those of missing negatives are zeros."""
        texts = ids.docs_M.cpu().numpy()
        docs = self.known.corpus.take(self.row_of_T[np.maximum(texts, 0)])
        docs[texts == MISSING] = 0.0
        queries = self.known.of_queries(ids.queries_G.cpu().numpy())
        device = ids.queries_G.device
        return Sides(*(self._scaled(torch.from_numpy(v)).to(device) for v in (queries, docs)))

    def _scaled(self, vectors: Tensor) -> Tensor:
        if self.similarity == "dot":
            return vectors.float()
        return torch.nn.functional.normalize(vectors.float(), dim=-1)

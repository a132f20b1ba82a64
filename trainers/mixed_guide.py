"""A guide of several datasets: each batch, which is of one of them, is looked up there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .guide import Guide
from .logits import Sides
from .masks import MISSING, BatchIds
from .mixed_feed import MixedRows


@dataclass(frozen=True, slots=True)
class MixedGuide:
    """The guide of each set of `rows`, in the numbers of all sets."""

    rows: MixedRows
    guides: tuple[Guide, ...]

    def vectors(self, ids: BatchIds) -> Sides:
        """The batch's vectors, float32; those of missing negatives are zeros."""
        part = self.rows.set_of(int(ids.queries_G[0]))
        docs = ids.docs_M - int(self.rows.first_texts[part])
        docs = torch.where(ids.docs_M == MISSING, ids.docs_M, docs)
        queries = ids.queries_G - int(self.rows.first_queries[part])
        return self.guides[part].vectors(BatchIds(queries, docs))

"""The logits stage: one step's vectors and ids become positives' and negatives' logits.

Directions and partitions as in sentence-transformers 6: `q2d` sets a query against documents,
`d2q` its positive against queries, `q2q` and `d2d` each against its own kind. `joint` puts all of
them under one denominator (GTE, arXiv 2308.03281), `per_direction` averages one softmax for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .loss_config import Direction
from .masks import BatchIds, Known, doc_to_doc, doc_to_query, query_to_doc, query_to_query

_MASKS: dict[Direction, Callable[[BatchIds, Known, Tensor], Tensor]] = {
    "q2d": query_to_doc,
    "d2q": doc_to_query,
    "q2q": query_to_query,
    "d2d": doc_to_doc,
}


@dataclass(frozen=True, slots=True)
class Logits:
    """R rows against N columns: similarities divided by the temperature, float32.

    `mask_RN` is True where the column is a negative of the row; `marginal_RN` where it stands in
    the batch for its own query's sake, False where it was mined as a hard negative.
    """

    pos_R: Tensor
    neg_RN: Tensor
    mask_RN: Tensor
    marginal_RN: Tensor
    log_weight_RN: Tensor | None = None

    def joined(self, other: Logits) -> Logits:
        """Both sets of columns under one denominator."""
        weights = self.log_weight_RN, other.log_weight_RN
        if weights != (None, None):
            filled = [
                torch.zeros_like(part.neg_RN) if w is None else w
                for part, w in zip((self, other), weights, strict=True)
            ]
            weight = torch.cat(filled, dim=1)
        else:
            weight = None
        return Logits(
            self.pos_R,
            torch.cat((self.neg_RN, other.neg_RN), dim=1),
            torch.cat((self.mask_RN, other.mask_RN), dim=1),
            torch.cat((self.marginal_RN, other.marginal_RN), dim=1),
            weight,
        )


@dataclass(frozen=True, slots=True)
class Sides:
    """Vectors of a batch: `queries_GD` and `docs_MD`, columns as in `BatchIds`."""

    queries_GD: Tensor
    docs_MD: Tensor

    def products(self, direction: Direction, rows_R: Tensor) -> Tensor:
        """Inner products of the rows' anchors with the direction's columns, [R, N]."""
        anchors = self.queries_GD if direction in ("q2d", "q2q") else self.docs_MD
        others = self.docs_MD if direction in ("q2d", "d2d") else self.queries_GD
        return anchors[rows_R] @ others.T

    def positives(self, rows_R: Tensor) -> Tensor:
        """Inner product of each row's query with its positive, [R]."""
        return (self.queries_GD[rows_R] * self.docs_MD[rows_R]).sum(dim=1)

    def own(self, ids: BatchIds, rows_R: Tensor) -> Tensor:
        """Inner products of each row's query with the row's own documents, [R, 1 + n]."""
        docs = self.docs_MD[ids.own_columns(rows_R)]
        return torch.einsum("rd,rcd->rc", self.queries_GD[rows_R], docs)


def direction_logits(
    sides: Sides,
    ids: BatchIds,
    known: Known,
    direction: Direction,
    rows_R: Tensor,
    temperature: float,
) -> Logits:
    """One direction's logits for the rows at `rows_R` int64 [R] of the batch."""
    products = sides.products(direction, rows_R) / temperature
    size = ids.queries_G.numel()
    marginal = torch.arange(products.shape[1], device=products.device) < size
    return Logits(
        sides.positives(rows_R) / temperature,
        products,
        _MASKS[direction](ids, known, rows_R),
        marginal.expand(products.shape),
    )

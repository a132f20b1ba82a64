"""Batches for the loss estimators, and the comparison with plain float64 loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

Rows = Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor]
# the positive, the negatives that count and their linear weights: float64 scalars of one row
RowOracle = Callable[[Tensor, list[Tensor], list[float]], Tensor]


class Batch(NamedTuple):
    pos_B: Tensor
    neg_BN: Tensor
    log_weight_BN: Tensor | None
    mask_BN: Tensor

    def counts(self, row: int, column: int) -> bool:
        weight = 0.0 if self.log_weight_BN is None else float(self.log_weight_BN[row, column])
        return bool(self.mask_BN[row, column]) and weight > -math.inf


def one_row(pos: float, neg: list[float]) -> Batch:
    """A batch of one row in which every negative counts."""
    return Batch(
        torch.tensor([pos]), torch.tensor([neg]), None, torch.ones(1, len(neg), dtype=torch.bool)
    )


def random_batch(
    seed: int, rows: int = 4, columns: int = 6, scale: float = 1.0, weighted: bool = True
) -> Batch:
    """Cosines over a temperature of 1 / scale; some entries masked, some weights -inf, one row
    without negatives."""
    generator = torch.Generator().manual_seed(seed)
    pos = scale * (2 * torch.rand(rows, generator=generator) - 1)
    neg = scale * (2 * torch.rand(rows, columns, generator=generator) - 1)
    mask = torch.rand(rows, columns, generator=generator) < 0.75
    mask[rows - 1] = False
    weight = torch.randn(rows, columns, generator=generator)
    weight[torch.rand(rows, columns, generator=generator) < 0.2] = -math.inf
    return Batch(pos, neg, weight if weighted else None, mask)


def oracle_rows(row_loss: RowOracle, pos_B: Tensor, neg_BN: Tensor, batch: Batch) -> Tensor:
    """`row_loss` of every row, from float64 leaves, entry by entry."""
    losses = []
    for row in range(len(pos_B)):
        negatives, weights = [], []
        for column in range(neg_BN.shape[1]):
            if batch.counts(row, column):
                negatives.append(neg_BN[row, column])
                given = batch.log_weight_BN
                weights.append(1.0 if given is None else math.exp(float(given[row, column])))
        losses.append(row_loss(pos_B[row], negatives, weights))
    return torch.stack(losses)


def assert_rows(found: Rows, row_loss: RowOracle, batch: Batch, tolerance: float = 2e-5) -> None:
    """Value and gradient are the oracle's; NaN and inf where nothing counts change nothing."""
    spoilt = batch.neg_BN.clone()
    for row in range(spoilt.shape[0]):
        for column in range(spoilt.shape[1]):
            if not batch.counts(row, column):
                spoilt[row, column] = (math.nan, math.inf, -math.inf)[(row + column) % 3]
    leaves = batch.pos_B.clone().requires_grad_(), spoilt.requires_grad_()
    wide = batch.pos_B.double().requires_grad_(), batch.neg_BN.double().requires_grad_()
    losses = found(*leaves, batch.log_weight_BN, batch.mask_BN)
    wanted = oracle_rows(row_loss, *wide, batch)
    assert losses.dtype == torch.float32
    assert losses.shape == (len(batch.pos_B),)
    assert losses.tolist() == pytest.approx(wanted.tolist(), rel=tolerance, abs=tolerance)
    share = torch.linspace(0.5, 2.0, len(batch.pos_B))
    got = torch.autograd.grad((losses * share).sum(), leaves)
    right = torch.autograd.grad((wanted * share.double()).sum(), wide, allow_unused=True)
    for one, two in zip(got, right, strict=True):
        # the oracle of a row without negatives never reads them
        slope = torch.zeros_like(one).double() if two is None else two
        assert torch.allclose(one.double(), slope, rtol=1e-3, atol=tolerance)
    for row in range(spoilt.shape[0]):
        for column in range(spoilt.shape[1]):
            if not batch.counts(row, column):
                assert got[1][row, column] == 0

"""Negatives as the estimators take them: float32 values and log-weights, -inf where none counts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Negatives(NamedTuple):
    """The negatives of B rows, float32 [B, N] both.

    `values_BN` is 0 and `log_weights_BN` is -inf at an entry that does not count, so nothing that
    stood there, not even a NaN, reaches a loss or a gradient.
    """

    values_BN: Tensor
    log_weights_BN: Tensor

    def weights(self) -> Tensor:
        """Linear weights, float32 [B, N]: 1 where neutral, 0 where the entry does not count."""
        return self.log_weights_BN.exp()

    def counts(self) -> Tensor:
        """How many negatives each row has, float32 [B]."""
        return (self.log_weights_BN > -torch.inf).sum(dim=1).float()


def counted(neg_BN: Tensor, log_weight_BN: Tensor | None, mask_BN: Tensor) -> Negatives:
    """What counts: `mask_BN` bool is True and `log_weight_BN` (None: all 0) is not -inf."""
    if log_weight_BN is None:
        log_weight_BN = torch.zeros_like(neg_BN)
    counts_BN = mask_BN & (log_weight_BN != -torch.inf)
    return Negatives(
        neg_BN.float().masked_fill(~counts_BN, 0.0),
        log_weight_BN.float().masked_fill(~counts_BN, -torch.inf),
    )


def log_sum(terms_BN: Tensor) -> Tensor:
    """The logsumexp of each row, float32 [B]: -inf and no gradient where every term is -inf."""
    empty_B = (terms_BN == -torch.inf).all(dim=1)
    # the gradient of a logsumexp over nothing is NaN
    return (
        terms_BN.masked_fill(empty_B[:, None], 0.0)
        .logsumexp(dim=1)
        .masked_fill(empty_B, -torch.inf)
    )


def row_means(terms_BN: Tensor, counts_B: Tensor) -> Tensor:
    """The sum of each row's terms over its count, float32 [B]; 0 for a row that has none."""
    return terms_BN.sum(dim=1) / counts_B.clamp(min=1.0)

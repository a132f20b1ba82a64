"""Triplet margin loss, plain or on the hardest negatives with softmax weights (NGAME).

Dahiya et al., arXiv 2207.04452.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from ...core.errors import PyriteError
from .negatives import counted, row_means


def triplet(
    pos_B: Tensor,
    neg_BN: Tensor,
    log_weight_BN: Tensor | None,
    mask_BN: Tensor,
    *,
    margin: float,
    top_k: int | None = None,
    softmax_temperature: float = 0.1,
) -> Tensor:
    """`relu(margin + neg - pos)` averaged over each row's negatives, float32 [B].

    With `top_k` only the row's hardest k count, each by softmax(neg / softmax_temperature) among
    them, without gradient through the softmax. A row without negatives is 0. Scores are
    similarities, no temperature; masks and log-weights as in `info_nce`, the log-weights do not
    choose the hardest. Raises PyriteError for top_k < 1 or softmax_temperature <= 0.
    """
    if top_k is not None and (top_k < 1 or not softmax_temperature > 0.0):
        raise PyriteError(
            f"triplet: top_k={top_k} (train.loss.hardest) must be at least 1, or null for all;"
            f" softmax_temperature={softmax_temperature} must be above 0"
        )
    negatives = counted(neg_BN, log_weight_BN, mask_BN)
    hinge_BN = relu(margin + negatives.values_BN - pos_B.float()[:, None])
    weighted_BN = negatives.weights() * hinge_BN
    if top_k is None:
        return row_means(weighted_BN, negatives.counts())
    counts_BN = negatives.log_weights_BN > -torch.inf
    return (
        _hardest(negatives.values_BN.detach(), counts_BN, top_k, softmax_temperature) * weighted_BN
    ).sum(dim=1)


def _hardest(values_BN: Tensor, counts_BN: Tensor, top_k: int, temperature: float) -> Tensor:
    """Softmax weights of each row's `top_k` largest values, 0 elsewhere; ties to the left."""
    ordered_BN = values_BN.masked_fill(~counts_BN, -torch.inf)
    at_BN = ordered_BN.sort(dim=1, descending=True, stable=True).indices[:, :top_k]
    chosen_BN = torch.zeros_like(counts_BN).scatter(1, at_BN, True) & counts_BN
    shares_BN = (ordered_BN / temperature).masked_fill(~chosen_BN, -torch.inf).softmax(dim=1)
    return shares_BN.masked_fill(~chosen_BN, 0.0)

"""LambdaLoss: pairs weighted by what swapping them would change in a ranking measure.

Burges et al., 2006; in the form of ADORE, Zhan et al., arXiv 2104.08051.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ...core.errors import PyriteError


class Ranked(NamedTuple):
    """Losses float32 [B], and bool [B]: the row has a pair; only such rows belong to the mean."""

    loss_B: Tensor
    counts_B: Tensor


def lambda_loss(
    scores_BK: Tensor,
    grades_BK: Tensor,
    mask_BK: Tensor,
    metric: Literal["mrr", "ndcg"] = "mrr",
    cut: int | None = 200,
    sigma: float = 1.0,
) -> Ranked:
    """The mean over pairs `grade_i > grade_j` of `w_ij * softplus(-sigma (score_i - score_j))`.

    `w_ij` is the change of 1 / rank (`mrr`) or of the normalised gain (`ndcg`, gains 2**grade) if i
    and j changed places in the order of the present scores, ties by column; ranks beyond `cut` are
    worth nothing (None: all count). Grades are at least 0. A row without pairs is 0: average over
    `counts_B`. The weights have no gradient. Raises PyriteError for an unknown metric or cut < 1.
    """
    if metric not in ("mrr", "ndcg"):
        raise PyriteError(f"train.loss.metric={metric!r} is not known; use mrr or ndcg")
    if cut is not None and cut < 1:
        raise PyriteError(
            f"train.loss.cut={cut} leaves no rank that counts; use 1 or more, or null for no cut"
        )
    scores_BK = scores_BK.float().masked_fill(~mask_BK, 0.0)
    grades_BK = grades_BK.float().masked_fill(~mask_BK, 0.0)
    better_BKK = grades_BK[:, :, None] > grades_BK[:, None, :]
    pairs_BKK = better_BKK & mask_BK[:, :, None] & mask_BK[:, None, :]
    ranks_BK = _ranks(scores_BK.detach().masked_fill(~mask_BK, -torch.inf))
    if metric == "mrr":
        weights_BKK = _differences(_reciprocal(ranks_BK, cut)).abs()
    else:
        discounts_BK = _discounts(ranks_BK, cut)
        swaps_BKK = _differences(2.0**grades_BK) * _differences(discounts_BK)
        weights_BKK = swaps_BKK.abs() / _ideal(grades_BK, cut)[:, None, None]
    cost_BKK = softplus(-sigma * _differences(scores_BK))
    number_B = pairs_BKK.sum(dim=(1, 2))
    total_B = (cost_BKK * weights_BKK * pairs_BKK).sum(dim=(1, 2))
    return Ranked(total_B / number_B.clamp(min=1), number_B > 0)


def _differences(values_BK: Tensor) -> Tensor:
    return values_BK[:, :, None] - values_BK[:, None, :]


def _ranks(scores_BK: Tensor) -> Tensor:
    """Rank from 1 by descending score, ties to the earlier column, float32 [B, K]."""
    order_BK = scores_BK.sort(dim=1, descending=True, stable=True).indices
    return (order_BK.argsort(dim=1) + 1).float()


def _reciprocal(ranks_BK: Tensor, cut: int | None) -> Tensor:
    return _within(1.0 / ranks_BK, ranks_BK, cut)


def _discounts(ranks_BK: Tensor, cut: int | None) -> Tensor:
    return _within(1.0 / torch.log2(1.0 + ranks_BK), ranks_BK, cut)


def _within(values_BK: Tensor, ranks_BK: Tensor, cut: int | None) -> Tensor:
    return values_BK if cut is None else values_BK.masked_fill(ranks_BK > cut, 0.0)


def _ideal(grades_BK: Tensor, cut: int | None) -> Tensor:
    """The best order's gain, float32 [B]; 1 for a row that can gain nothing."""
    gains_BK = 2.0 ** grades_BK.sort(dim=1, descending=True).values - 1.0
    places_BK = torch.arange(1, grades_BK.shape[1] + 1, device=grades_BK.device).expand_as(gains_BK)
    ideal_B = (gains_BK * _discounts(places_BK.float(), cut)).sum(dim=1)
    return ideal_B.masked_fill(ideal_B == 0.0, 1.0)

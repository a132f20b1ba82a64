"""Debiased contrastive loss: the share of false negatives is taken out of the negatives' mass.

Chuang et al., arXiv 2007.00224. Negatives drawn from the marginal hold positives with probability
`tau_plus`; their expected share is subtracted, and what is left never falls below the least mass
that N cosines can have. At a retrieval temperature that floor is reached soon, and a row at the
floor teaches its negatives nothing: hence `clamped_B`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ...core.errors import PyriteError
from .negatives import Negatives, counted, log_sum


class Floored(NamedTuple):
    """Losses float32 [B], and bool [B]: the negatives' mass is at its floor (no gradient there)."""

    loss_B: Tensor
    clamped_B: Tensor


def debiased(
    pos_B: Tensor,
    neg_BN: Tensor,
    log_weight_BN: Tensor | None,
    mask_BN: Tensor,
    *,
    tau_plus: float,
    temperature: float,
    marginal_BN: Tensor | None = None,
) -> Floored:
    """`log(1 + Ng / exp(pos))`, Ng the debiased mass of each row's negatives.

    Logits are cosines over `temperature`. `marginal_BN` bool is True where the negative is a draw
    from the marginal, that is in-batch (None: all are); the subtraction concerns these alone, the
    others (mined negatives) are added as they are. With weights, N is the sum of the weights.
    `tau_plus=0` is `info_nce`. Raises PyriteError unless 0 <= tau_plus < 1 and temperature > 0.
    """
    check_debiasing(tau_plus, temperature)
    pos_B = pos_B.float()
    drawn, other_B = split(pos_B, counted(neg_BN, log_weight_BN, mask_BN), marginal_BN)
    mass_B = log_sum(drawn.values_BN + drawn.log_weights_BN)
    number_B = log_sum(drawn.log_weights_BN)
    return floored(pos_B, mass_B, number_B, other_B, tau_plus, temperature)


def check_debiasing(tau_plus: float, temperature: float) -> None:
    """Raises PyriteError unless 0 <= tau_plus < 1 and temperature > 0."""
    if not 0.0 <= tau_plus < 1.0:
        raise PyriteError(
            f"train.loss.tau_plus={tau_plus} is the share of relevant texts among in-batch"
            " negatives; it must be at least 0 and below 1, such as 0.01"
        )
    if not temperature > 0.0:
        raise PyriteError(f"train.loss.temperature={temperature} must be above 0, such as 0.05")


def split(
    pos_B: Tensor, negatives: Negatives, marginal_BN: Tensor | None
) -> tuple[Negatives, Tensor]:
    """The negatives drawn from the marginal, and the log mass of the others, float32 [B].

    Both are relative to the row's positive logit.
    """
    relative_BN = negatives.values_BN - pos_B[:, None]
    log_weights_BN = negatives.log_weights_BN
    if marginal_BN is None:
        return Negatives(relative_BN, log_weights_BN), torch.full_like(pos_B, -torch.inf)
    other_BN = relative_BN + log_weights_BN.masked_fill(marginal_BN, -torch.inf)
    drawn_BN = log_weights_BN.masked_fill(~marginal_BN, -torch.inf)
    return Negatives(relative_BN, drawn_BN), log_sum(other_BN)


def floored(
    pos_B: Tensor,
    mass_B: Tensor,
    number_B: Tensor,
    other_B: Tensor,
    tau_plus: float,
    temperature: float,
) -> Floored:
    """The loss from log masses relative to the positive, float32 [B] each.

    `mass_B` of the draws, `number_B` the log of how many, `other_B` of what is not debiased.
    """
    clamped_B = torch.zeros_like(mass_B, dtype=torch.bool)
    # nothing to subtract: no floor either, it would only matter to logits that are no cosines
    if tau_plus > 0.0:
        share_B = math.log(tau_plus) + number_B
        left_B = mass_B > share_B
        # a gap that is not used must not be one whose logarithm has no gradient
        gap_B = torch.where(left_B, share_B - mass_B, -1.0)
        rest_B = mass_B + torch.log(-torch.expm1(gap_B)) - math.log1p(-tau_plus)
        rest_B = torch.where(left_B, rest_B, -torch.inf)
        floor_B = number_B - 1.0 / temperature - pos_B
        clamped_B = rest_B < floor_B
        mass_B = torch.where(clamped_B, floor_B, rest_B)
    return Floored(softplus(log_sum(torch.stack([mass_B, other_B], dim=1))), clamped_B)

"""Masks and weights against false negatives: a guide (GIST), a frozen model (DCLR), a probability.

GIST: Solatorio, arXiv 2402.16829. DCLR: Zhou et al., arXiv 2205.00656 (the paper's form: the weight
scales the exponential; its code scales the logit). None carries a gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.errors import PyriteError


def guided_mask(
    guide_pos_B: Tensor, guide_neg_BN: Tensor, margin: float = 0.0, relative: bool = False
) -> Tensor:
    """False where the guide rates a negative above the positive less a margin, bool [B, N].

    The threshold is `pos - margin`, or `pos - |pos| * margin` if `relative`; a tie counts as a
    negative. Any number of negatives, explicit or in-batch; combine it with the other masks by `&`.
    """
    guide_pos_B = guide_pos_B.detach().float()
    allowance_B = guide_pos_B.abs() * margin if relative else margin
    return ~(guide_neg_BN.detach().float() > (guide_pos_B - allowance_B)[:, None])


def dclr_log_weight(frozen_cos_BN: Tensor, phi: float) -> Tensor:
    """-inf where a frozen model's cosine is above `phi`, else 0: float32 [B, N]."""
    near_BN = frozen_cos_BN.detach().float() > phi
    return torch.zeros_like(near_BN, dtype=torch.float32).masked_fill(near_BN, -torch.inf)


def false_negative_log_weight(f_BN: Tensor, floor: float = 0.1) -> Tensor:
    """`log max(1 - f, floor)` of the probability f that it is a false negative, float32 [B, N].

    f = 1 with floor 0 is -inf: masked. Raises PyriteError for an f or a floor outside 0..1.
    """
    if not 0.0 <= floor <= 1.0:
        raise PyriteError(f"train.loss.weight_floor={floor} is a weight and must be in 0..1")
    f_BN = f_BN.detach().float()
    outside = f_BN[~((f_BN >= 0.0) & (f_BN <= 1.0))]
    if outside.numel():
        raise PyriteError(
            f"P(false negative) of a negative is {float(outside[0]):.6g}, expected 0..1;"
            " mend the column that it comes from"
        )
    return torch.log1p(-f_BN).clamp(min=math.log(floor) if floor > 0.0 else -torch.inf)

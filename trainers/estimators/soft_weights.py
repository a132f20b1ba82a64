"""Weights of negatives by hardness and by Soft-InfoNCE's estimate of how negative they are.

Hardness: Lan et al. (LLaVE), arXiv 2503.04812. Soft-InfoNCE: Li et al., arXiv 2310.08069. All are
log-weights for `info_nce`, float32 [B, N], and carry no gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...core.errors import PyriteError


class SoftWeights(NamedTuple):
    """Log-weights float32 [B, N], 0 where masked, and the mean weight over what is not masked.

    The mean is 1 unless the floor has lifted some weight; it is 1 too if there is no negative.
    """

    log_weight_BN: Tensor
    mean_weight: Tensor


def hardness_log_weight(cos_BN: Tensor, alpha: float) -> Tensor:
    """`alpha * cos`: a hard negative counts exp(alpha cos) times. 0 is neutral, below 0 eases."""
    return alpha * cos_BN.detach().float()


def soft_info_nce_log_weight(
    estimator_BN: Tensor,
    mask_BN: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    floor: float = 0.1,
) -> SoftWeights:
    """`log max((beta - alpha sim) / (beta - alpha / N), floor)`, sim = softmax(estimator / T).

    `estimator_BN` says how alike query and negative are: BM25 (`batch_bm25`), the cosine of another
    encoder, or the product of a trained model's vectors; the softmax is over the row's N negatives
    that count, mined ones too. Raises PyriteError if a row with negatives has N <= alpha / beta
    (the weights would be negative), and unless alpha, floor >= 0, beta, temperature > 0.
    """
    if not (alpha >= 0.0 and beta > 0.0 and temperature > 0.0 and floor >= 0.0):
        raise PyriteError(
            f"train.loss.alpha={alpha} and train.loss.floor={floor} must be at least 0,"
            f" train.loss.beta={beta} and train.loss.spread={temperature} above 0"
        )
    number_B = mask_BN.sum(dim=1).float()
    few = number_B[(number_B > 0) & (number_B <= alpha / beta)]
    if few.numel():
        raise PyriteError(
            f"a query of the batch has {int(few.min())} negatives, Soft-InfoNCE with"
            f" train.loss.alpha={alpha} and train.loss.beta={beta} needs more than alpha / beta ="
            f" {alpha / beta:.3g}; raise train.batch_size or lower train.loss.alpha"
        )
    logits_BN = estimator_BN.detach().float() / temperature
    # a row without negatives would be a softmax over nothing
    shares_BN = logits_BN.masked_fill(~mask_BN, -torch.inf).softmax(1).masked_fill(~mask_BN, 0.0)
    scale_B = beta - alpha / number_B.clamp(min=1.0)
    weights_BN = ((beta - alpha * shares_BN) / scale_B[:, None]).clamp(min=floor)
    weights_BN = weights_BN.masked_fill(~mask_BN, 1.0)
    total = mask_BN.sum()
    mean = (weights_BN * mask_BN).sum() / total.clamp(min=1) + (total == 0)
    return SoftWeights(weights_BN.log(), mean)

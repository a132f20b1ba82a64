"""Cosine contrastive loss: only negatives above a margin push. SimpleX, arXiv 2109.12613."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from .negatives import counted, row_means


def ccl(
    pos_cos_B: Tensor,
    neg_cos_BN: Tensor,
    log_weight_BN: Tensor | None,
    mask_BN: Tensor,
    *,
    margin: float,
    weight: float,
) -> Tensor:
    """`(1 - pos) + weight * mean_j w_j relu(neg_j - margin)` of each row, float32 [B].

    Cosines, not logits: no temperature. The mean is over the negatives that count; a row without
    any has the positive's term alone. Masks and log-weights as in `info_nce`.
    """
    negatives = counted(neg_cos_BN, log_weight_BN, mask_BN)
    hinge_BN = negatives.weights() * relu(negatives.values_BN - margin)
    return 1.0 - pos_cos_B.float() + weight * row_means(hinge_BN, negatives.counts())

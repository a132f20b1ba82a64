"""InfoNCE with weighted negatives: the softmax's share of the positive.

van den Oord et al., arXiv 1807.03748. A weight w on a negative is log w added to its logit; every
soft-weighting method of `soft_weights` and `false_negatives` enters in this way.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from .negatives import counted, log_sum


def info_nce(
    pos_B: Tensor, neg_BN: Tensor, log_weight_BN: Tensor | None, mask_BN: Tensor
) -> Tensor:
    """`log(1 + sum_j w_j exp(neg_j - pos))` of each row, float32 [B]; 0 without negatives.

    `pos_B` and `neg_BN` are logits of any float dtype, `log_weight_BN` is log w (None: all 0, -inf
    excludes), `mask_BN` bool is True where the negative counts. What does not has no gradient.
    """
    values_BN, log_weights_BN = counted(neg_BN, log_weight_BN, mask_BN)
    # differences first: a logit of 1e4 keeps its small distances
    return softplus(log_sum(values_BN - pos_B.float()[:, None] + log_weights_BN))

"""Pairwise softplus: the loss of STAR and ANCE, one logistic regression for each pair.

Zhan et al., arXiv 2104.08051; Xiong et al., arXiv 2007.00808.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from .negatives import counted


def pairwise_softplus(
    pos_B: Tensor, neg_BN: Tensor, log_weight_BN: Tensor | None, mask_BN: Tensor
) -> Tensor:
    """`softplus(neg - pos)` summed over each row's pairs, over the rows' mean number of pairs.

    Float32 [B]; the mean over the rows is the mean over all pairs of the batch, however unevenly
    they are spread. A row without negatives is 0. Masks and log-weights as in `info_nce`: STAR's
    small weight on random negatives is its logarithm at the in-batch columns.
    """
    negatives = counted(neg_BN, log_weight_BN, mask_BN)
    pairs_BN = negatives.weights() * softplus(negatives.values_BN - pos_B.float()[:, None])
    total = negatives.counts().sum().clamp(min=1.0)
    return pairs_BN.sum(dim=1) * (len(pos_B) / total)

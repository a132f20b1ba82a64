"""ClusterNS's margin for probable false negatives: near, but not as near as the positive.

Deng et al., arXiv 2305.09892.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from ...core.errors import PyriteError


def bidirectional_margin(
    delta_BB: Tensor, same_cluster_BB: Tensor, alpha: float = 0.2, beta: float = 0.5
) -> Tensor:
    """The mean over same-cluster pairs of `relu(delta + alpha) + relu(-delta - beta)`.

    `delta_BB` is cos(x_i, x_j) - cos(x_i, x_i's positive), `same_cluster_BB` bool; the diagonal
    never counts. It keeps delta in -beta..-alpha. A float32 scalar, 0 without such pairs (the
    paper's code averages over all pairs and so adds a constant). Raises PyriteError unless
    alpha <= beta.
    """
    if not alpha <= beta:
        raise PyriteError(
            f"train.loss.alpha={alpha} must not be above train.loss.beta={beta}:"
            " no difference lies between -beta and -alpha"
        )
    itself_BB = torch.eye(len(delta_BB), dtype=torch.bool, device=delta_BB.device)
    counts_BB = same_cluster_BB & ~itself_BB
    delta_BB = delta_BB.float().masked_fill(~counts_BB, 0.0)
    cost_BB = relu(delta_BB + alpha) + relu(-delta_BB - beta)
    return (cost_BB * counts_BB).sum() / counts_BB.sum().clamp(min=1)

"""Hard-negative contrastive loss: debiased, with in-batch negatives weighted by their hardness.

Robinson et al., arXiv 2010.04592.
"""

from __future__ import annotations

from torch import Tensor

from ...core.errors import PyriteError
from .debiased import Floored, check_debiasing, floored, split
from .negatives import counted, log_sum


def hcl(
    pos_B: Tensor,
    neg_BN: Tensor,
    log_weight_BN: Tensor | None,
    mask_BN: Tensor,
    *,
    beta: float,
    tau_plus: float,
    temperature: float,
    detach_weights: bool = False,
    marginal_BN: Tensor | None = None,
) -> Floored:
    """`debiased` whose mass is `N * sum_j v_j exp(neg_j) / sum_j v_j`, v_j = exp(beta neg_j).

    Arguments and floor as in `debiased`; negatives outside `marginal_BN` were chosen hard already
    and are added unweighted. The gradient passes through v, as in the paper's code, unless
    `detach_weights`. `beta=0` is `debiased`. Raises PyriteError for beta < 0 as well.
    """
    check_debiasing(tau_plus, temperature)
    if not beta >= 0.0:
        raise PyriteError(
            f"train.loss.beta={beta} would prefer easy negatives; it must be at least 0 (0: off)"
        )
    pos_B = pos_B.float()
    drawn, other_B = split(pos_B, counted(neg_BN, log_weight_BN, mask_BN), marginal_BN)
    values_BN, log_weights_BN = drawn
    hardness_BN = beta * (values_BN.detach() if detach_weights else values_BN) + log_weights_BN
    number_B = log_sum(log_weights_BN)
    # relative to the positive both sums shift alike: only exp(neg - pos) is left of it
    empty_B = number_B.isneginf()
    mean_B = (log_sum(hardness_BN) - number_B).masked_fill(empty_B, 0.0)
    mass_B = log_sum(values_BN + hardness_BN) - mean_B
    return floored(pos_B, mass_B, number_B, other_B, tau_plus, temperature)

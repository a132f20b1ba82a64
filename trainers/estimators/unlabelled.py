"""Learning when unlabelled is not irrelevant: nnPU, SAR, and the weights of CET.

Non-negative PU risk: Kiryo et al., 2017. Selected not at random: Bekker et al., 2019. Pooling bias:
arXiv 2209.05072.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ...core.errors import PyriteError


def nn_pu(
    pos_P: Tensor, unlabelled_U: Tensor, prior: float, beta: float = 0.0, gamma: float = 1.0
) -> Tensor:
    """`prior R+(pos) + max(0, R-(unlabelled) - prior R-(pos))`, a float32 scalar.

    R+ and R- are mean logistic losses of raw scores taken as relevant and as irrelevant; `prior` is
    the share of relevant texts among the unlabelled. Where the bracket falls below -beta, the value
    stays but the gradient is that of `-gamma * bracket` alone: the overfit is undone. No score: its
    mean is 0. Raises PyriteError unless prior is in 0..1, beta >= 0 and gamma >= 0.
    """
    if not (0.0 <= prior <= 1.0 and beta >= 0.0 and gamma >= 0.0):
        raise PyriteError(
            f"train.loss.prior={prior} must be in 0..1, train.loss.beta={beta} and"
            f" train.loss.gamma={gamma} at least 0"
        )
    pos_P, unlabelled_U = pos_P.float(), unlabelled_U.float()
    relevant = prior * _mean(softplus(-pos_P))
    bracket = _mean(softplus(unlabelled_U)) - prior * _mean(softplus(pos_P))
    value = relevant + bracket.clamp(min=0.0)
    step = torch.where(bracket < -beta, -gamma * bracket, relevant + bracket)
    return value.detach() + (step - step.detach())


def sar_risk(
    labelled_P: Tensor, propensity_P: Tensor, unlabelled_U: Tensor, floor: float = 0.05
) -> Tensor:
    """The risk if a text's chance of being labelled, `propensity_P`, is known: a float32 scalar.

    The mean over all texts of `L+ / e + (1 - 1 / e) L-` for labelled and L- for unlabelled ones, L
    logistic; e is at least `floor`. It can be negative. e = 1 everywhere is supervised learning.
    Raises PyriteError unless 0 < floor <= 1.
    """
    if not 0.0 < floor <= 1.0:
        raise PyriteError(f"SAR risk: floor={floor} of a propensity must be above 0, at most 1")
    labelled_P = labelled_P.float()
    inverse_P = 1.0 / propensity_P.detach().float().clamp(min=floor)
    labelled = inverse_P * softplus(-labelled_P) + (1.0 - inverse_P) * softplus(labelled_P)
    return _mean(torch.cat([labelled, softplus(unlabelled_U.float())]))


def cet_log_weight(
    selection_BN: Tensor,
    mask_BN: Tensor,
    temperature: float = 10.0,
    cap: float = 10.0,
    normalise: bool = True,
) -> Tensor:
    """CET's weight of a negative, `1 / (1 - sigmoid(selection / temperature))`, as float32 logs.

    `selection_BN` are the other model's logits: for the relevance model, that the text was seen by
    an annotator. Weights are at most `cap`; normalised, each row's mean is 1, so that the learning
    rate keeps its meaning. 0 at masked entries; no gradient. Raises PyriteError unless
    temperature > 0 and cap >= 1.
    """
    if not (temperature > 0.0 and cap >= 1.0):
        raise PyriteError(
            f"CET weights: temperature={temperature} must be above 0, cap={cap} at least 1"
        )
    logits_BN = selection_BN.detach().float().masked_fill(~mask_BN, 0.0) / temperature
    # 1 / (1 - sigmoid(x)) = 1 + exp(x)
    log_weight_BN = softplus(logits_BN).clamp(max=math.log(cap))
    if normalise:
        counts_B = mask_BN.sum(dim=1).clamp(min=1)
        means_B = (log_weight_BN.exp() * mask_BN).sum(dim=1) / counts_B
        log_weight_BN = log_weight_BN - means_B.clamp(min=1.0).log()[:, None]
    return log_weight_BN.masked_fill(~mask_BN, 0.0)


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)

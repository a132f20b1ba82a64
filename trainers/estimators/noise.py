"""DCLR's noise negatives: random vectors moved to where the loss is worst.

Zhou et al., arXiv 2205.00656.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...core.errors import PyriteError
from .info_nce import info_nce


def noise_negatives(
    queries_BD: Tensor,
    docs_BD: Tensor,
    count: int,
    *,
    generator: torch.Generator,
    steps: int = 4,
    rate: float = 1e-3,
    temperature: float = 0.05,
) -> Tensor:
    """`count` Gaussian vectors after `steps` steps of gradient ascent, float32 [count, D].

    Each step moves every vector by `rate` along its normalised gradient of the batch's InfoNCE, by
    cosine, with the other rows' documents and all noise as negatives; a vector whose gradient is 0
    or not a number stays. `docs_BD` are the positives. The result has no gradient and is not
    normalised. All randomness is `generator`'s. Raises PyriteError for count, steps < 0 or
    temperature <= 0.
    """
    if count < 0 or steps < 0 or not temperature > 0.0:
        raise PyriteError(
            f"noise negatives: count={count} and steps={steps} must be at least 0,"
            f" temperature={temperature} above 0"
        )
    shape = (count, queries_BD.shape[1])
    noise_KD = torch.randn(shape, generator=generator, device=generator.device)
    noise_KD = noise_KD.to(queries_BD.device)
    # autocast would multiply the float32 vectors in its own, coarser dtype
    with torch.enable_grad(), torch.autocast(queries_BD.device.type, enabled=False):
        queries_BD = normalize(queries_BD.detach().float(), dim=1)
        logits_BB = queries_BD @ normalize(docs_BD.detach().float(), dim=1).T / temperature
        for _ in range(steps):
            noise_KD.requires_grad_()
            noisy_BK = queries_BD @ normalize(noise_KD, dim=1).T / temperature
            gradient_KD = torch.autograd.grad(_loss(logits_BB, noisy_BK), noise_KD)[0]
            direction_KD = gradient_KD / gradient_KD.norm(dim=1, keepdim=True)
            noise_KD = noise_KD.detach() + rate * direction_KD.nan_to_num(nan=0.0)
    return noise_KD.detach()


def _loss(logits_BB: Tensor, noisy_BK: Tensor) -> Tensor:
    own_BB = torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device)
    mask_BN = torch.cat([~own_BB, torch.ones_like(noisy_BK, dtype=torch.bool)], dim=1)
    negatives_BN = torch.cat([logits_BB, noisy_BK], dim=1)
    return info_nce(logits_BB.diagonal(), negatives_BN, None, mask_BN).mean()

"""CoSENT: similarities in the order of their gold values.

Su, 2022; in the balanced batches of Conan-embedding, arXiv 2408.15710.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ...core.errors import PyriteError
from .negatives import log_sum


def cosent(sims_P: Tensor, gold_P: Tensor, temperature: float = 0.05) -> Tensor:
    """`log(1 + sum exp((sim_k - sim_i) / temperature))` over all pairs with gold_i > gold_k.

    A float32 scalar; 0 if all gold values are equal. Raises PyriteError unless temperature > 0.
    """
    if not temperature > 0.0:
        raise PyriteError(f"train.loss.temperature={temperature} must be above 0, such as 0.05")
    sims_P = sims_P.float()
    excess_PP = (sims_P[None, :] - sims_P[:, None]) / temperature
    wrong_PP = excess_PP.masked_fill(~(gold_P[:, None] > gold_P[None, :]), -torch.inf)
    return softplus(log_sum(wrong_PP.reshape(1, -1)))[0]

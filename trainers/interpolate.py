"""Weight interpolation with the untrained model: what it knew is kept in part.

WiSE-FT (Wortsman et al., arXiv 2109.01903), LM-Cocktail (Xiao et al., arXiv 2311.13534).
"""

from __future__ import annotations

import torch
from torch import Tensor


def copy_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of every number of a model, on the CPU."""
    return {name: values.detach().cpu().clone() for name, values in model.state_dict().items()}


def interpolate(model: torch.nn.Module, base: dict[str, Tensor], share: float) -> None:
    """Set the weights to `(1 - share) * own + share * base`, computed in float32.

    Whole numbers (position ids, counters) stay the model's own.
    """
    with torch.no_grad():
        for name, own in model.state_dict().items():
            if own.is_floating_point():
                there = base[name].to(own.device)
                own.copy_((1.0 - share) * own.float() + share * there.float())

"""Distillation from the untrained model: its similarities within the batch are kept in part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .guide import FrozenVectors
from .logits import Sides
from .loss import ContrastiveLoss
from .masks import MISSING, first_copies
from .step import Step


class BaseDistilledLoss(ContrastiveLoss):
    """A `ContrastiveLoss` plus `weight * KL(base || model)` over the batch's documents.

    Both distributions are the softmax of a query's cosines with every document of the batch (of
    all devices), divided by the loss's temperature; a missing negative and a repeated text are in
    neither. The base's vectors are looked up.
    """

    def __init__(self, *args: Any, base: FrozenVectors, weight: float, **options: Any) -> None:
        """`base` holds the untrained model's vectors; the rest is `ContrastiveLoss`'s."""
        super().__init__(*args, **options)
        self.base = base
        self.weight = weight

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss of a whole batch from its vectors, by column and chunk."""
        loss = super().calculate_loss(reps, labels, with_backward=with_backward)
        sides = self._sides(reps)
        with torch.autocast(sides.queries_GD.device.type, enabled=False):
            divergence = self.weight * divergence_from(
                self.base.vectors(labels.ids), sides, labels, self.config.temperature
            )
        if with_backward:
            torch.autograd.backward(divergence)
            divergence = divergence.detach()
        return loss + divergence

    def get_config_dict(self) -> dict[str, Any]:
        return {**super().get_config_dict(), "distil_base": self.weight}


def divergence_from(base: Sides, model: Sides, step: Step, temperature: float) -> Tensor:
    """Mean over this process's rows of KL(base || model), a float32 scalar."""
    docs = step.ids.docs_M
    used = (docs != MISSING) & first_copies(docs)
    of_model = _log_softmax(model, step.rows_B, used, temperature)
    of_base = _log_softmax(base, step.rows_B, used, temperature)
    return nn.functional.kl_div(of_model, of_base, reduction="batchmean", log_target=True)


def _log_softmax(sides: Sides, rows_B: Tensor, used_M: Tensor, temperature: float) -> Tensor:
    queries = nn.functional.normalize(sides.queries_GD[rows_B].float(), dim=-1)
    docs = nn.functional.normalize(sides.docs_MD[used_M].float(), dim=-1)
    return torch.log_softmax(queries @ docs.T / temperature, dim=-1)

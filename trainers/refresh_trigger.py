"""The triggered rhythm: a refresh is due once the mined negatives have become easy.

A row is easy if its positive beats each of its own mined negatives by a margin, in the very scores
that the loss sees. Nothing is embedded for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from ..core.config import Section
from ..core.errors import PyriteError
from ..core.store import read_array, write_array
from ..core.used import ALL, only

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .logits import Sides
    from .step import Step

STATE = "refresh-trigger.npy"


class TriggerSection(Section):
    """When mined negatives count as easy."""

    easy_share: float | None = Field(
        None, ge=0, lt=1, description="a refresh is due when more rows are easy; null: never"
    )
    margin: float = Field(
        3.0, ge=0, description="the positive's lead in an easy row, in units of the temperature"
    )
    window: int = Field(50, ge=1, description="steps whose rows are counted")
    min_steps: int = Field(100, ge=1, description="between two refreshes")

    USED = (only(ALL, "easy_share", off=None, instead="set {at}easy_share, as 0.9"),)


def count_easy(step: Step, sides: Sides, lead: float) -> Tensor:
    """Rows whose positive scores more than `lead` over all own negatives, and rows with any.

    int64 [2]. A row with a score that is no number is not easy.
    """
    import torch

    from .masks import MISSING

    own = sides.own(step.ids, step.rows_B).detach()
    here = step.ids.docs_M[step.ids.own_columns(step.rows_B)] != MISSING
    # NaN fails every comparison, so it counts as not beaten
    beaten = (own[:, :1] - own[:, 1:] > lead) | ~here[:, 1:]
    asked = here[:, 1:].any(dim=1)
    return torch.stack(((beaten.all(dim=1) & asked).sum(), asked.sum()))


class Trigger:
    """Easy rows of the last `window` steps, on all processes together.

    Counts of a step are summed over the processes before they are kept, so each process holds the
    same numbers, asks at the same step, and goes on from the one checkpoint of all.
    """

    def __init__(self, config: TriggerSection, temperature: float) -> None:
        self.config = config
        self._lead = config.margin * temperature
        self._pending: Tensor | None = None
        self._counts = np.zeros((config.window, 2), dtype=np.int64)
        self._steps = 0
        self._since = 0
        self.last = 0

    @property
    def easy_share(self) -> float | None:
        """Of the rows in the window; None while it is not full, or has none with negatives."""
        easy, rows = self._counts.sum(axis=0).tolist()
        return easy / rows if rows and self._steps >= self.config.window else None

    def watch(self, loss: torch.nn.Module) -> None:
        """Count in every batch that the loss sees, unless nothing is asked for."""
        from .loss import ContrastiveLoss

        if self.config.easy_share is None:
            return
        for module in loss.modules():
            if isinstance(module, ContrastiveLoss):
                module.observers.append(self.observe)

    def observe(self, step: Step, sides: Sides) -> None:
        """Count a batch of the step that is under way; several batches add up."""
        found = count_easy(step, sides, self._lead)
        self._pending = found if self._pending is None else self._pending + found

    def end_step(self, step: int) -> bool:
        """Close step number `step`; whether a refresh is to be asked for now.

        To be called by all processes after each step. When it is True the counting begins anew.
        """
        if self.config.easy_share is None:
            return False
        sums = self._sums()
        if step <= self._since:
            return False
        self._counts[self._steps % self.config.window] = sums
        self._steps += 1
        share = self.easy_share
        if share is None or share <= self.config.easy_share:
            return False
        if step - self.last < self.config.min_steps:
            return False
        self.last = step
        self.restart(step)
        return True

    def restart(self, since: int = 0) -> None:
        """Forget what was counted: other negatives come into use from step `since`, from 0, on."""
        self._counts[:] = 0
        self._steps = 0
        self._since = since

    def _sums(self) -> tuple[int, int]:
        """The pending counts of all processes."""
        import torch

        pending, self._pending = self._pending, None
        if pending is None:
            raise ValueError("a step without a batch; watch(loss) comes before the first step")
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(pending)
        easy, rows = pending.tolist()
        return easy, rows

    def save(self, folder: Path) -> None:
        """Write the state beside a checkpoint's other files."""
        numbers = [self.last, self._since, self._steps]
        state = np.concatenate((numbers, self._counts.reshape(-1)))
        write_array(folder / STATE, state.astype(np.int64))

    def load(self, folder: Path) -> None:
        """Go on where `save` was called; raises PyriteError if it had another window."""
        state = np.array(read_array(folder / STATE))
        if state.size != 3 + self._counts.size:
            raise PyriteError(
                f"{folder / STATE}: counts of {(state.size - 3) // 2} steps, but"
                f" refresh.trigger.window={self.config.window}; set it back, or train anew"
            )
        self.last, self._since, self._steps = (int(number) for number in state[:3])
        self._counts = state[3:].reshape(-1, 2)
        self._pending = None

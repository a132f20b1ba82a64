"""The order of an epoch's rows: random, or NGAME's batches of similar rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler

from ..core.mapped import Mapped
from ..miner.ngame import Points, cluster_size, ngame_batches


@dataclass(frozen=True, slots=True)
class Clock:
    """Which step of training a row is in: `step_of_R` int64 [R] of the running epoch, shared.

    Workers collate ahead and see no step: they look it up by the rows of their batch.
    """

    step_of_R: Mapped[np.int64]
    steps_per_epoch: int

    def read(self, row: int) -> tuple[int, int]:
        """Epoch and step of the row's batch, both from 0."""
        step = int(self.step_of_R.array[row])
        return step // self.steps_per_epoch, step


class EpochBatches(DefaultBatchSampler):  # type: ignore[misc]
    """Batches of row numbers; each row stands in one batch of an epoch or in the rest left out.

    A pure function of (seed, epoch, ids): `skip_first_batches` and `set_epoch` resume it anywhere.
    `double_at` null is a random order. `processes` take turns at the batches, and together are a
    batch to NGAME; `accumulation` batches of each are a step.
    """

    def __init__(
        self,
        points: Points,
        clock: Clock,
        batch_size: int,
        seed: int,
        double_at: Sequence[int] | None = None,
        processes: int = 1,
        accumulation: int = 1,
    ) -> None:
        super().__init__(range(points.id_hashes.size), batch_size=batch_size, drop_last=True)
        self.points = points
        self.clock = clock
        self.order_seed = seed
        self.double_at = double_at
        self.processes = processes
        self.accumulation = accumulation

    def __iter__(self) -> Iterator[list[int]]:
        whole = self.batch_size * self.processes
        cluster = 1 if self.double_at is None else cluster_size(self.epoch, whole, self.double_at)
        found = ngame_batches(self.points, whole, cluster, self.order_seed, self.epoch)
        first = self.epoch * self.clock.steps_per_epoch
        steps = first + np.arange(len(found.full)) // self.accumulation
        self.clock.step_of_R.array[found.full] = steps[:, None]
        for rows in found.full.reshape(-1, self.batch_size):
            yield rows.tolist()

    def __len__(self) -> int:
        size = int(self.points.id_hashes.size)
        return size // (int(self.batch_size) * self.processes) * self.processes


def steps_in(rows: int, batch: int, accumulation: int) -> int:
    """Optimizer steps of an epoch of `rows` rows in whole batches, as the trainer counts them."""
    return max(1, -(-(rows // batch) // accumulation))

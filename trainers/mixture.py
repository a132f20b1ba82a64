"""How several datasets share an epoch: whole batches, each of one set, in fixed numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler

from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.mapped import Mapped
from ..core.rng import combine, stream
from ..miner.ngame import Points, ngame_batches

# of the hash stream that shuffles the sets' turns
_TURNS = 13


@dataclass(frozen=True, slots=True)
class Share:
    """One set of an epoch: its rows as `points`, and its number of batches an epoch."""

    points: Points
    batches: int


def batch_shares(weights: Sequence[float], total: int) -> list[int]:
    """`total` batches by `weights`, by largest remainder; of equal remainders the first gets one.

    The parts add up to `total`, and each is less than 1 away from its exact share. Raises
    PyriteError if a set would get no batch.
    """
    exact = np.asarray(weights, dtype=np.float64) / np.sum(weights) * total
    # a share that is whole but for rounding must not lose a batch to the remainders
    exact = np.where(np.abs(exact - np.rint(exact)) < 1e-9 * total, np.rint(exact), exact)
    parts = np.floor(exact).astype(np.int64)
    left = int(total - parts.sum())
    parts[np.argsort(parts - exact, kind="stable")[:left]] += 1
    for at, part in enumerate(parts.tolist()):
        if not part:
            raise PyriteError(
                f"train.datasets.{at}.weight={weights[at]:g} of {np.sum(weights):g} is"
                f" {exact[at]:.2f} of an epoch's {total} batches, so none; raise it or lower"
                " train.batch_size"
            )
    return [int(part) for part in parts]


class Slots:
    """What the places of the running epoch's batches hold, shared by the processes that collate.

    Workers collate ahead and know a slot only; a row may have several in an epoch.
    """

    def __init__(self, rows: Mapped[np.int64], batches: Mapped[np.int64], size: int) -> None:
        """`rows` int64 [T * size]; `batches` int64 [T, 3]: set, pass over the set, step."""
        self.rows = rows
        self.batches = batches
        self.size = size

    @classmethod
    def create(cls, folder: Path, total: int, size: int) -> Slots:
        """Of `total` batches of `size` rows, in new files."""
        rows = Mapped[np.int64].zeros(folder / "row_of_slot.npy", np.int64, (total * size,))
        batches = Mapped[np.int64].zeros(folder / "batches.npy", np.int64, (total, 3))
        return cls(rows, batches, size)

    def read(self, slots_B: I64) -> tuple[I64, int, int, int]:
        """Rows int64 [B] of slots of one batch; their set, the pass over the set and the step."""
        part, turn, step = self.batches.array[int(slots_B[0]) // self.size].tolist()
        return np.asarray(self.rows.array[slots_B]), part, turn, step


@dataclass(frozen=True, slots=True)
class Pace:
    """Optimizer steps of an epoch."""

    steps_per_epoch: int


class MixedBatches(DefaultBatchSampler):  # type: ignore[misc]
    """Batches of slot numbers; every batch, of all processes together, is of one set.

    A pure function of (seed, epoch, ids). A set is gone through again and again, each time in
    another order, and an epoch goes on where the last one stopped: no row comes twice before every
    row has come once, but for those that fill no batch. One set alone is what `EpochBatches` gives.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        slots: Slots,
        batch_size: int,
        seed: int,
        processes: int = 1,
        accumulation: int = 1,
    ) -> None:
        self.total = sum(share.batches for share in shares)
        whole = batch_size * processes
        super().__init__(range(self.total * whole), batch_size=batch_size, drop_last=True)
        self.shares = shares
        self.slots = slots
        self.order_seed = seed
        self.processes = processes
        self.accumulation = accumulation
        self.clock = Pace(max(1, -(-self.total // accumulation)))

    def __iter__(self) -> Iterator[list[int]]:
        turns_T = self._turns()
        steps = np.arange(self.total) // self.accumulation
        batches, rows = self.slots.batches.array, self.slots.rows.array.reshape(self.total, -1)
        batches[:, 0] = turns_T
        batches[:, 2] = self.epoch * self.clock.steps_per_epoch + steps
        for part, share in enumerate(self.shares):
            at = np.flatnonzero(turns_T == part)
            batches[at, 1], rows[at] = self._rows_of(share)
        size = int(self.batch_size)
        for start in range(0, rows.size, size):
            yield list(range(start, start + size))

    def _turns(self) -> I64:
        """The set of each batch, int64 [T]."""
        parts = np.repeat(np.arange(len(self.shares)), [s.batches for s in self.shares])
        numbers = np.arange(self.total, dtype=np.uint64)
        keys = combine(stream(self.order_seed, self.epoch, _TURNS), numbers)
        return np.asarray(parts[np.argsort(keys, kind="stable")])

    def _rows_of(self, share: Share) -> tuple[I64, I64]:
        """Passes [n] and rows [n, whole batch] of the set's n batches of this epoch."""
        whole = int(self.batch_size) * self.processes
        in_a_pass = share.points.id_hashes.size // whole
        numbers = self.epoch * share.batches + np.arange(share.batches)
        passes = numbers // in_a_pass
        rows = np.empty((share.batches, whole), dtype=np.int64)
        for turn in np.unique(passes).tolist():
            found = ngame_batches(share.points, whole, 1, self.order_seed, turn)
            here = passes == turn
            rows[here] = found.full[numbers[here] % in_a_pass]
        return passes, rows

    def __len__(self) -> int:
        return self.total * self.processes

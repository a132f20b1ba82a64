"""What a training row gets in a step: a positive, and negatives of the generation in force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.candidates import PAD_ID
from ..core.ids import I64
from .draw_config import Draw
from .made_pool import MadePool
from .pool import Pools
from .row_draw import (
    POSITIVE,
    ROTATION,
    SAMPLE,
    hashes,
    replaced_columns,
    rotated_columns,
    sampled_columns,
)
from .row_table import RowTable
from .switches import Switches


@dataclass(frozen=True, slots=True)
class Examples:
    """Document rows of B training rows: `positives_B`, and `negatives_Bn`, -1 where missing.

    `turns_B` counts how often each row's negatives were replaced before.
    """

    positives_B: I64
    negatives_Bn: I64
    turns_B: I64


@dataclass(frozen=True, slots=True)
class Drawer:
    """Draws by (seed, epoch, query id, document id): workers and resumes change nothing.

    `generations` [1] is the number of the generation; `turns` [R] counts replacements, where
    `draw` is replace. `n` mined negatives are drawn, and after them those of `made`, which stay the
    same in every generation.
    """

    rows: RowTable
    pools: Pools
    generations: Switches
    turns: Switches | None
    draw: Draw
    n: int
    seed: int
    made: MadePool | None = None

    @property
    def width(self) -> int:
        """Negatives of a row, mined and made."""
        return self.n + (self.made.n if self.made is not None else 0)

    def examples(self, rows_B: I64, epoch: int, step: int) -> Examples:
        """What the `rows_B` get in `step` of `epoch`, both from 0.

        Raises PyriteError if the generation in force is not there.
        """
        turns = np.zeros_like(rows_B) if self.turns is None else self.turns.at(rows_B, step)
        negatives = self._negatives(rows_B, epoch, step, turns)
        if self.made is not None:
            made = self.made.draw(self.rows, rows_B, negatives, epoch, self.seed)
            negatives = np.column_stack((negatives, made))
        return Examples(self._positives(rows_B, epoch), negatives, turns)

    def _negatives(self, rows_B: I64, epoch: int, step: int, turns_B: I64) -> I64:
        if not self.n:
            return np.empty((rows_B.size, 0), dtype=np.int64)
        pool = self.pools[int(self.generations.at(np.zeros(1, dtype=np.int64), step)[0])]
        places = self.rows.places.array[rows_B]
        ids = np.asarray(pool.ids[places])
        queries = self.rows.query_hashes.array[rows_B]
        docs = self.rows.doc_hashes_N.array[np.maximum(ids, 0)]
        if self.draw == "rotate":
            keys = hashes(self.seed, 0, ROTATION, queries, docs)
            columns = rotated_columns(ids, keys, epoch, self.n)
        elif self.draw == "sample":
            bits = hashes(self.seed, epoch, SAMPLE, queries, docs)
            columns = sampled_columns(ids, np.asarray(pool.probabilities[places]), bits, self.n)
        else:
            columns = replaced_columns(ids, turns_B, self.n)
        # a generation may hold fewer columns than are asked for
        at = np.clip(columns, 0, ids.shape[1] - 1)
        return np.where(columns >= 0, np.take_along_axis(ids, at, axis=1), PAD_ID)

    def _positives(self, rows_B: I64, epoch: int) -> I64:
        """One positive of each row: the smallest hash of (seed, epoch, query id, document id)."""
        starts, docs = self.rows.starts.array, self.rows.positives.array
        counts = starts[rows_B + 1] - starts[rows_B]
        column = np.arange(int(counts.max()))
        inside = column < counts[:, None]
        ids = docs[np.where(inside, starts[rows_B][:, None] + column, 0)]
        queries = self.rows.query_hashes.array[rows_B]
        bits = hashes(self.seed, epoch, POSITIVE, queries, self.rows.doc_hashes_N.array[ids])
        best = np.where(inside, bits, np.uint64(2**64 - 1)).argmin(axis=1)
        return np.asarray(np.take_along_axis(ids, best[:, None], axis=1)[:, 0])

"""Conan's rule: negatives that the model has learned make room for the next ones.

Conan-embedding, arXiv 2408.15710. A row's score is the mean cosine of its query and its negatives.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.encoder import F32
from ..core.ids import I64
from ..core.store import read_array, write_array
from .draw_config import FIRST_REPLACEMENT, ReplaceSection
from .switches import Switches

logger = logging.getLogger(__name__)

STATE = "replace.npy"
_STATE = np.dtype([("word", np.int64), ("first", np.float32), ("now", np.float32)])
Bool = npt.NDArray[np.bool_]


def is_learned(first: F32, now: F32, ratio: float, ceiling: float) -> Bool:
    """`ratio * now < first` and `|now| < ceiling`, against the score when they were installed.

    A first score of 0 or less never counts as unlearned: the ratio would turn round. NaN: never.
    """
    fallen = ratio * now.astype(np.float64) < first
    return np.asarray(fallen & (first > 0) & (np.abs(now) < ceiling))


class Replacer:
    """Scores of all training rows since their negatives were installed, and who is due.

    `turns` counts each row's replacements, `lengths_R` its mined negatives, n are used at a time.
    """

    def __init__(self, config: ReplaceSection, turns: Switches, lengths_R: I64, n: int) -> None:
        self.config = config
        self.turns = turns
        self._lengths = lengths_R
        self._n = n
        self.first = np.full(lengths_R.size, np.nan, dtype=np.float32)
        self.now = np.full(lengths_R.size, np.nan, dtype=np.float32)
        self.replaced = 0

    def observe(self, rows_B: I64, turns_B: I64, scores_B: F32) -> None:
        """Note scores of rows; those of negatives that are already on their way out do not count.

        NaN is the score of a row without negatives.
        """
        current = (self.turns.latest(rows_B) == turns_B) & ~np.isnan(scores_B)
        rows, scores = rows_B[current], scores_B[current]
        fresh = np.isnan(self.first[rows])
        self.first[rows[fresh]] = scores[fresh]
        self.now[rows] = scores

    def check(self, step: int) -> tuple[int, int]:
        """Decide after `step`, in force `every` steps later; how many are replaced and exhausted.

        A row whose next n places are not all there keeps what it has.
        """
        config = self.config
        due = np.flatnonzero(is_learned(self.first, self.now, config.ratio, config.ceiling))
        turns = self.turns.latest(due) + 1
        there = turns * self._n + FIRST_REPLACEMENT <= self._lengths[due]
        rows = due[there]
        self.turns.change(rows, turns[there], step + config.every)
        self.first[rows], self.now[rows] = np.nan, np.nan
        self.replaced += int(rows.size)
        exhausted = int((~there).sum())
        if due.size:
            logger.info(
                "step %d: the negatives of %d rows are learned; replaced from step %d on: %d,"
                " no further ones mined: %d",
                step,
                due.size,
                step + config.every,
                rows.size,
                exhausted,
            )
        return int(rows.size), exhausted

    def save(self, folder: Path) -> None:
        """Write the state beside a checkpoint's other files."""
        state: npt.NDArray[Any] = np.empty(self.first.size, dtype=_STATE)
        state["word"], state["first"], state["now"] = self.turns.words, self.first, self.now
        write_array(folder / STATE, state)

    def load(self, folder: Path) -> None:
        """Go on where `save` was called."""
        state = read_array(folder / STATE)
        self.turns.restore(state["word"])
        self.first, self.now = np.array(state["first"]), np.array(state["now"])

"""Numbers that change while training runs, each from a step on that is fixed in advance.

A data loader collates ahead, by as much as it has workers. A change that took hold at once would
depend on their number; one that names its step does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core.ids import I64
from ..core.mapped import Mapped

_STEP_BITS, _VALUE_BITS = 32, 15
_STEP, _VALUE = (1 << _STEP_BITS) - 1, (1 << _VALUE_BITS) - 1


class Switches:
    """N numbers in [0, 32767], all 0 at first, shared by all processes that map `path`.

    Number, the one before and the step lie in one 64-bit word, so that nobody reads half a change.
    """

    def __init__(self, words: Mapped[np.int64]) -> None:
        self._words = words

    @classmethod
    def create(cls, path: Path, size: int) -> Switches:
        """`size` zeros in a new file."""
        return cls(Mapped.zeros(path, np.int64, (size,)))

    @property
    def words(self) -> I64:
        """What to keep in a checkpoint and to `restore`, int64 [N]."""
        return np.array(self._words.array)

    def restore(self, words_N: I64) -> None:
        """Take up where a checkpoint was."""
        self._words.array[:] = words_N

    def at(self, places: I64, step: int) -> I64:
        """The numbers at `places` that are in force in `step`, int64."""
        words = self._words.array[places]
        before = words >> (_STEP_BITS + _VALUE_BITS)
        now = (words >> _STEP_BITS) & _VALUE
        return np.where(step >= (words & _STEP), now, before)

    def latest(self, places: I64) -> I64:
        """The numbers at `places` once every change is in force, int64."""
        return np.asarray((self._words.array[places] >> _STEP_BITS) & _VALUE)

    def since(self, places: I64) -> I64:
        """The steps from which on the latest numbers at `places` are in force, int64."""
        return np.asarray(self._words.array[places] & _STEP)

    def change(self, places: I64, values: Any, since: int) -> None:
        """Set the numbers at `places` to `values` from step `since` on.

        An earlier change of the same places must be in force by then.
        """
        word = (self.latest(places) << _VALUE_BITS) | np.asarray(values, dtype=np.int64)
        self._words.array[places] = (word << _STEP_BITS) | since


def numbers_in(words_N: I64) -> set[int]:
    """All numbers, in force or not any more, that the words of switches hold."""
    found = np.concatenate(
        (words_N >> (_STEP_BITS + _VALUE_BITS), (words_N >> _STEP_BITS) & _VALUE)
    )
    return set(found.tolist())

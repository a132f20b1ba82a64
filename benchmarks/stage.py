"""What a stage of `all.py` is: inputs of a size, contestants on them, and how their costs grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Reading

LINEAR = (0.9, 1.1)
_MIB = 2**20
_FLAT_MIB = 16


@dataclass(frozen=True)
class Stage:
    """Three sizes of one kind of work.

    `counts` says what a size is a number of, `fixed` what stays the same. `prepare` writes inputs
    to a folder, untimed; a contestant reads them and times itself. The first contestant is ours; a
    name in `floors` is work that any implementation has to do, not a rival.
    """

    title: str
    counts: str
    fixed: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    prepare: Callable[[Path, int], None]
    contestants: dict[str, Callable[[Path, int], Reading]]
    floors: frozenset[str] = frozenset()


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Slope of log(cost) over log(size), by least squares: 1 is linear, 2 quadratic."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def growth(slope: float) -> str:
    """A word for a slope."""
    if slope < LINEAR[0]:
        return "less than linear"
    return "linear" if slope <= LINEAR[1] else "more than linear"


def memory_growth(sizes: Sequence[int], extra_bytes: Sequence[int]) -> tuple[float | None, str]:
    """The slope of memory and a word for it; no slope where hardly anything is held."""
    if max(extra_bytes) < _FLAT_MIB * _MIB:
        return None, f"under {_FLAT_MIB} MiB"
    if max(extra_bytes) < 1.25 * max(extra_bytes[0], _MIB):
        return None, "does not grow"
    slope = exponent(sizes, [max(count, _MIB) for count in extra_bytes])
    return slope, growth(slope)

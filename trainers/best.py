"""The best step of a training, read from the trainer's log: nothing else is kept of it."""

from __future__ import annotations

from collections.abc import Sequence

PREFIX = "dev_"
# beside it where PREFIX stands for a pool: the same measure in the whole corpus
FULL_PREFIX = "full_"


def measured(history: Sequence[dict[str, float]]) -> list[tuple[int, float]]:
    """(step, value) of each measurement on the development split, in order."""
    return _logged(history, PREFIX)


def measured_in_full(history: Sequence[dict[str, float]]) -> list[tuple[int, float]]:
    """(step, value) of each measurement that was made in the whole corpus beside a pool's."""
    return _logged(history, FULL_PREFIX)


def best_step(history: Sequence[dict[str, float]]) -> int | None:
    """The earliest step with the highest value; None if nothing was measured."""
    values = measured(history)
    return max(values, key=lambda found: (found[1], -found[0]))[0] if values else None


def exhausted(history: Sequence[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` measurements brought no new best."""
    steps = [step for step, _ in measured(history)]
    best = best_step(history)
    return best is not None and len(steps) - 1 - steps.index(best) >= patience


def _logged(history: Sequence[dict[str, float]], prefix: str) -> list[tuple[int, float]]:
    return [
        (int(entry["step"]), value)
        for entry in history
        for name, value in entry.items()
        if name.startswith(f"eval_{prefix}")
    ]

"""The best step of a training, read from the trainer's log: nothing else is kept of it."""

from __future__ import annotations

from collections.abc import Sequence

PREFIX = "dev_"
_LOGGED = f"eval_{PREFIX}"


def measured(history: Sequence[dict[str, float]]) -> list[tuple[int, float]]:
    """(step, value) of each measurement on the development split, in order."""
    return [
        (int(entry["step"]), value)
        for entry in history
        for name, value in entry.items()
        if name.startswith(_LOGGED)
    ]


def best_step(history: Sequence[dict[str, float]]) -> int | None:
    """The earliest step with the highest value; None if nothing was measured."""
    values = measured(history)
    return max(values, key=lambda found: (found[1], -found[0]))[0] if values else None


def exhausted(history: Sequence[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` measurements brought no new best."""
    steps = [step for step, _ in measured(history)]
    best = best_step(history)
    return best is not None and len(steps) - 1 - steps.index(best) >= patience

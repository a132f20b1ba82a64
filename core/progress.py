"""Progress with rate and ETA, one style for every stage: a bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self, TypeAlias

from tqdm import tqdm

from .terminal import on_terminal

_SHARES = 10
_FIRST_OF_UNKNOWN = 100_000
# a stage that is over by then is no news before its end
_PAUSE_S = 1.0


def progress(description: str, total: int | None, unit: str, initial: int = 0) -> Progress:
    """A bar of `total` units (None: unknown), `initial` of them already done in an earlier run.

    Off a terminal it is a line at the start, at each tenth and at the end.
    """
    if not on_terminal():
        return ProgressLines(description, total, unit, initial)
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=f" {unit}",
        unit_scale=total is None or total >= _FIRST_OF_UNKNOWN,
        dynamic_ncols=True,
        disable=False,  # whatever TQDM_DISABLE says of others
    )


class ProgressLines:
    """What a bar is in a log; the part of tqdm's interface that we use."""

    def __init__(self, description: str, total: int | None, unit: str, initial: int = 0) -> None:
        self.n = initial
        self._description, self._total, self._unit = description, total, unit
        self._initial, self._note = initial, ""
        self._start = self._said = time.monotonic()
        self._next = self._after(initial)
        done = f", {initial:,} of them done before" if initial else ""
        amount = "" if total is None else f": {total:,} {unit}{done}"
        sys.stderr.write(f"{description}{amount}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count `n` units more."""
        self.n += n
        if self.n < self._next or self.n == self._total:
            return
        self._next = self._after(self.n)
        if time.monotonic() - self._said >= _PAUSE_S:
            self._say()

    def set_postfix_str(self, note: str, refresh: bool = True) -> None:
        """What the next line ends with; `refresh` is tqdm's."""
        self._note = note

    def close(self) -> None:
        """Say how far it came."""
        self._say()

    def _after(self, n: int) -> int:
        """The count at which the next line is due."""
        if self._total is None:
            return max(_FIRST_OF_UNKNOWN, 2 * n)
        share = _SHARES * n // max(self._total, 1) + 1
        return -(-share * self._total // _SHARES)

    def _say(self) -> None:
        self._said = time.monotonic()
        seconds = self._said - self._start
        rate = (self.n - self._initial) / seconds if seconds else 0.0
        words = [self._count(), tqdm.format_interval(seconds)]
        if rate:
            words.append(f"{rate:,.1f}/s")
        if rate and self._total is not None and self.n < self._total:
            words.append(f"{tqdm.format_interval((self._total - self.n) / rate)} left")
        if self._note:
            words.append(self._note)
        sys.stderr.write(f"{self._description}: {', '.join(words)}\n")

    def _count(self) -> str:
        if self._total is None:
            return f"{self.n:,} {self._unit}"
        share = 100 * self.n // max(self._total, 1)
        return f"{share}%, {self.n:,} of {self._total:,} {self._unit}"


Progress: TypeAlias = "tqdm[Any] | ProgressLines"

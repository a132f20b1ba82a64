"""Seconds that a block takes."""

from __future__ import annotations

import time
from types import TracebackType


class Stopwatch:
    """`with Stopwatch() as watch:` and then `watch.seconds`.

    `clock` is of the wall; a benchmark on a busy machine may set one of processor time.
    """

    clock = staticmethod(time.perf_counter)
    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = self.clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = self.clock() - self._start

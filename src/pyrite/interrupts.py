"""Ctrl-C: the first ends the verb where it can go on later, the second ends the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

INTERRUPTED = 130
_GO_ON = "run the same command again to go on"


class Interrupts:
    """Counts the interrupts of a call of the command; to be entered for as long."""

    def __init__(self) -> None:
        self.seen = False
        self._before: Any = None

    def __enter__(self) -> Self:
        # only the main thread may say what becomes of a signal
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._first)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # after an interrupt the second one stays in force until the process has ended
        if self._before is not None and not self.seen:
            signal.signal(signal.SIGINT, self._before)

    def _first(self, number: int, frame: FrameType | None) -> NoReturn:
        self.seen = True
        signal.signal(signal.SIGINT, _second)
        sys.stderr.write("pyrite: stopping; Ctrl-C again stops at once\n")
        raise KeyboardInterrupt


def _second(number: int, frame: FrameType | None) -> NoReturn:
    # nothing half-written is ever read: a process may end anywhere
    os.write(2, f"pyrite: stopped at once; {_GO_ON}\n".encode())
    os._exit(INTERRUPTED)


def interrupted() -> NoReturn:
    """Say how to go on, and end."""
    sys.stderr.write(f"pyrite: interrupted; {_GO_ON}\n")
    sys.exit(INTERRUPTED)

"""One refresher for a run: a lock that a dead process does not hold."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import PyriteError

_PAUSE_S = 0.1


@contextlib.contextmanager
def refresher_lock(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock `path`; the operating system frees it when the process ends, however.

    Raises PyriteError, naming who has it, if it is held for longer than `patience_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as handle:
        stop = time.monotonic() + patience_s
        while not _taken(handle.fileno()):
            if time.monotonic() >= stop:
                handle.seek(0)
                raise PyriteError(
                    f"{path}: another refresher has this run ({handle.read().strip()}); one is"
                    " enough: end that one first, or leave it at work"
                )
            time.sleep(_PAUSE_S)
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {platform.node()}\n")
        handle.flush()
        yield


def is_held(path: Path) -> bool:
    """Whether a live process has the lock."""
    if not path.exists():
        return False
    with path.open("a+", encoding="utf-8") as handle:
        return not _taken(handle.fileno())


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

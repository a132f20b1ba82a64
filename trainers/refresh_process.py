"""The refresher that a trainer starts: restarted a few times, and gone when the trainer is."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from .refresh_home import PROCESS_LOG, RefreshHome

logger = logging.getLogger(__name__)

RESTARTS = 3
_END_S = 10.0


class RefresherProcess:
    """`pyrite refresh RUN` as a child process of low priority."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._log = RefreshHome.of(run).folder / PROCESS_LOG
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = 0

    @property
    def pid(self) -> int | None:
        """The number of the process that was started last."""
        return self._process.pid if self._process else None

    @property
    def command(self) -> list[str]:
        """What is run."""
        verb = [sys.executable, "-m", "pyrite", "refresh", str(self._run)]
        return [*verb, "--parent", str(os.getpid())]

    def start(self) -> None:
        """Start it; what it prints is added to `refresh/refresher.log`."""
        with self._open_log() as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def alive(self) -> bool:
        """Whether it works; one that ended is started again, at most three times."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return True
        if self._restarts == RESTARTS:
            logger.warning(
                "the refresher ended with code %d after %d restarts: training goes on with the"
                " negatives it has; see %s",
                code,
                RESTARTS,
                self._log,
            )
            self._process = None
            return False
        self._restarts += 1
        logger.warning(
            "the refresher ended with code %d and is started again (%d of %d); see %s",
            code,
            self._restarts,
            RESTARTS,
            self._log,
        )
        self.start()
        return True

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._process.kill()
        self._process.wait()
        self._process = None

    def _open_log(self) -> IO[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        return self._log.open("ab")

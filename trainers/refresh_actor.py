"""The refresher as an actor of Ray: with devices of its own, and gone with the trainer."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ..core.run import session_of
from .refresh_home import PROCESS_LOG, RefreshHome
from .refresh_process import RESTARTS
from .refresher import refresh
from .run_config import TrainConfig

logger = logging.getLogger(__name__)

# it has the devices of one worker and encodes with them itself
_ALONE = ("engine=local", "ray={}", "refresh.refresher=external")


class RefresherActor:
    """`refresh` in an actor with the resources of one worker; every node must see the run."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._run = config.run_folder
        self._actor: Any = None
        self._work: Any = None
        self._restarts = 0

    @property
    def pid(self) -> int | None:
        """The number of the process that was started last, on its node."""
        import ray

        return None if self._actor is None else ray.get(self._actor.pid.remote())

    def start(self) -> None:
        """Start it; what it prints is added to `refresh/refresher.log`."""
        import ray

        session, settings = session_of(self._config), self._config.ray
        if not self._restarts:
            session.plan(
                f"refresh: an actor of {settings.cpus_per_worker:g} CPUs and"
                f" {settings.gpus_per_worker:g} GPUs, beside the trainer"
            )
        # two threads: one works, the other tells the process's number
        kind = ray.remote(Refresher).options(
            num_cpus=settings.cpus_per_worker, num_gpus=settings.gpus_per_worker, max_concurrency=2
        )
        self._actor = kind.remote()
        self._work = self._actor.work.remote(str(self._run.absolute()))

    def alive(self) -> bool:
        """Whether it works; one that ended is started again, at most three times."""
        import ray

        if self._actor is None:
            return False
        if not ray.wait([self._work], timeout=0)[0]:
            return True
        try:
            ended = ray.get(self._work)
        except ray.exceptions.RayActorError:
            ended = "its process is gone"
        if self._restarts == RESTARTS:
            logger.warning(
                "the refresher ended (%s) after %d restarts: training goes on with the negatives it"
                " has",
                ended,
                RESTARTS,
            )
            self._actor = None
            return False
        self._restarts += 1
        logger.warning(
            "the refresher ended (%s) and is started again (%d of %d)",
            ended,
            self._restarts,
            RESTARTS,
        )
        self.start()
        return True

    def stop(self) -> None:
        """End it, if it still runs."""
        import ray

        if self._actor is not None:
            # nothing half-written is ever read: a refresher may end anywhere
            ray.kill(self._actor)
            self._actor = None


class Refresher:
    """The actor's side."""

    def pid(self) -> int:
        """The number of its process."""
        return os.getpid()

    def work(self, run: str) -> str:
        """Make generations until the training is finished; how it ended, in words."""
        folder = Path(run)
        if not RefreshHome.of(folder).folder.is_dir():
            return f"{folder} is not there on its node; set runs_dir to a folder that all share"
        _print_to(RefreshHome.of(folder).folder / PROCESS_LOG)
        try:
            return f"{refresh(folder, _ALONE, patient=True)} generations"
        # an exception that is raised would be one of Ray, with a stack of two processes
        except Exception as error:
            logger.exception("the refresher failed")
            return str(error) or repr(error)


def _print_to(log: Path) -> None:
    """Send what this process prints to the end of a file."""
    with log.open("ab") as handle:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
                os.dup2(handle.fileno(), stream.fileno())
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("pyrite").setLevel(logging.INFO)

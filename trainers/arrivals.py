"""Where a trainer's generations come from: made by itself, or by a refresher that it waits for."""

from __future__ import annotations

import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from ..core.errors import PyriteError
from .generations import Generation, Generations
from .make_generation import make_generation
from .refresh_actor import RefresherActor
from .refresh_lock import is_held, refresher_lock
from .refresh_process import RefresherProcess
from .run_config import TrainConfig
from .swaps import Swaps
from .weights import Weights, newest_weights, remove_weights_after

logger = logging.getLogger(__name__)

_PAUSE_S = 0.02
# until a refresher that was started by hand counts as gone
_ABSENT_S = 60.0
# until the refresher of a trainer that was killed has noticed
_PATIENCE_S = 10.0


class Arrivals(ABC):
    """The generations that a training may take, in the order of their weights.

    `used` is the step of the weights behind the generation that was taken last. To be entered as a
    context while the training runs.
    """

    def __init__(self, config: TrainConfig, training: str, store: Generations) -> None:
        self.config, self.training, self.store = config, training, store
        self.used = 0
        self.waited = False
        self.seen: list[Generation] = []
        self.swaps: Swaps | None = None
        self._bad: set[int] = set()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def go_on(self, swaps: Swaps, step: int, latest: int) -> None:
        """Begin after `step`, with the generation `latest` in use or about to be."""
        generation = self.store.get(latest)
        self.used = 0 if generation is None else generation.step
        # what a killed training published later will be published again
        remove_weights_after(self.store.home.weights, step)

    @abstractmethod
    def published(self, weights: Weights) -> None:
        """Newer weights are there to mine with."""

    @abstractmethod
    def of_step(self, step: int) -> Generation | None:
        """What the training may take after `step`, of newer weights than it uses, or None."""

    def taken(self, generation: Generation) -> None:
        """The training draws from it from now on."""
        self.used = generation.step

    def refuse(self, generation: Generation) -> None:
        """Leave out a generation whose files are not what its manifest says."""
        logger.warning("%s: damaged, and left out", generation.folder)
        self._bad.add(generation.number)

    def _may_take(self, found: Generation, step: int) -> bool:
        fresh = self.used < found.step <= step
        return found.adopted and fresh and found.number not in self._bad


class InTheTrainer(Arrivals):
    """`refresh.mode: sync`: the trainer makes each generation while it stands still."""

    _weights: Weights | None = None

    def __enter__(self) -> Arrivals:
        self._open.enter_context(refresher_lock(self.store.home.lock, _PATIENCE_S))
        self.store.home.begin(self.training, self.config)
        return self

    def go_on(self, swaps: Swaps, step: int, latest: int) -> None:
        super().go_on(swaps, step, latest)
        # they are made, or found, again
        swaps.forget(step)

    def published(self, weights: Weights) -> None:
        self._weights = weights

    def of_step(self, step: int) -> Generation | None:
        weights, self._weights = self._weights, None
        if weights is None:
            return None
        with _undisturbed():
            made = make_generation(self.config, weights, self.store)
        self.seen = [made]
        return made if self._may_take(made, step) else None


class WithRefresher(Arrivals):
    """`refresh.mode: async`: a refresher makes generations while training goes on."""

    def __init__(self, config: TrainConfig, training: str, store: Generations) -> None:
        super().__init__(config, training, store)
        self._process = _refresher(config)
        self._published = 0
        self._listed: list[int] = []
        self._warned: set[str] = set()
        self._absent_since: float | None = None

    def __enter__(self) -> Arrivals:
        self.store.home.begin(self.training, self.config)
        if self._process is not None:
            self._open.callback(self._process.stop)
            self._process.start()
        return self

    def go_on(self, swaps: Swaps, step: int, latest: int) -> None:
        super().go_on(swaps, step, latest)
        self.swaps = swaps
        weights = newest_weights(self.store.home.weights, self.training)
        self._published = 0 if weights is None else weights.step

    def published(self, weights: Weights) -> None:
        self._published = weights.step

    def of_step(self, step: int) -> Generation | None:
        alive = self._alive()
        if self.swaps is not None and step <= self.swaps.last:
            return self._again(self.swaps, step)
        found, self.waited = self._newest(step), False
        while self._is_stale(step, found) and self._wait(step, alive):
            self.waited = True
            time.sleep(_PAUSE_S)
            alive, found = self._alive(), self._newest(step)
        return found

    def _again(self, swaps: Swaps, step: int) -> Generation | None:
        """What was taken after this step before a kill."""
        swap = swaps.at(step)
        if swap is None:
            return None
        found = self.store.get(swap.generation)
        if found is None or not found.manifest.intact(found.folder):
            logger.warning(
                "generation %d was taken after step %d before, and is gone: from here on this run"
                " is another one",
                swap.generation,
                step,
            )
            swaps.forget(step - 1)
            return None
        return found

    def _newest(self, step: int) -> Generation | None:
        listed = self.store.numbers()
        if listed != self._listed:
            self._listed, self.seen = listed, self.store.all()
        found = [generation for generation in self.seen if self._may_take(generation, step)]
        return found[-1] if found else None

    def _is_stale(self, step: int, found: Generation | None) -> bool:
        limit = self.config.refresh.max_age_steps
        used = self.used if found is None else found.step
        mined = max((g.step for g in self.seen if g.step <= step), default=0)
        return limit is not None and step - used > limit and mined < self._published

    def _wait(self, step: int, alive: bool) -> bool:
        """Whether to wait for what is on its way to take the place of stale negatives."""
        section = self.config.refresh
        stale = (
            f"after step {step} the negatives in use are of weights {step - self.used} steps old,"
            f" over refresh.max_age_steps={section.max_age_steps}"
        )
        if section.on_stale == "stop":
            raise PyriteError(
                f"{stale}; raise it, set refresh.on_stale=wait or warn, or give the refresher more"
                " of the machine, then run the same command again to go on"
            )
        if section.on_stale == "wait" and alive:
            return True
        self._warn("stale", f"{stale}; training goes on with them")
        return False

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.alive()
        if is_held(self.store.home.lock):
            self._absent_since = None
            return True
        if self._absent_since is None:
            self._absent_since = time.monotonic()
        if time.monotonic() - self._absent_since < _ABSENT_S:
            return True
        self._warn(
            "absent",
            f"no refresher is at work on {self.config.run_folder}; start one with pyrite refresh"
            f" {self.config.run_folder}",
        )
        return False

    def _warn(self, what: str, sentence: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s", sentence)


def _refresher(config: TrainConfig) -> RefresherProcess | RefresherActor | None:
    """Who is started beside the training; None: somebody else does that."""
    if config.refresh.refresher == "external":
        return None
    if config.refresh.refresher == "ray":
        return RefresherActor(config)
    return RefresherProcess(config.run_folder)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave torch's noise as it was: loading a model draws from it."""
    with torch.random.fork_rng():
        yield

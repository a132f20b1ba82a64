"""The trainer's side of a refresh: publish weights, take generations at step borders."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from .adoption import Adoption
from .arrivals import Arrivals, InTheTrainer, WithRefresher
from .checkpoints import checkpoint_folder
from .feed import Feed
from .generations import Generation, Generations
from .processes import by_main, is_main, main_first
from .refresh_config import steps_ahead
from .refresh_gate import NDCG
from .refresh_home import RefreshHome
from .refresh_journal import Journal
from .refresh_log import RefreshLog
from .refresh_trigger import Trigger
from .run_config import TrainConfig
from .swaps import Swap, Swaps
from .training_set import TrainingSet
from .weights import publish_weights, remove_weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

logger = logging.getLogger(__name__)

# a refresher may be loading the ones before the newest
_KEPT_WEIGHTS = 2


class RefreshCallback(TrainerCallback):  # type: ignore[misc]
    """Swaps the generation that a feed draws from while the training named `training` runs.

    To be entered as a context for as long: what it starts ends with it. With several processes the
    first one decides, and all swap at the same step.
    """

    def __init__(self, config: TrainConfig, training: str, feed: Feed, rows: TrainingSet) -> None:
        self._config, self._training, self._section = config, training, config.refresh
        self._home = RefreshHome.of(config.run_folder)
        self._store = Generations(self._home, training)
        self._adoption = Adoption(config, feed, rows, self._store)
        self._ahead = steps_ahead(config.train.num_workers)
        self._trigger = Trigger(config.refresh.trigger, config.train.loss.temperature)
        self._open = contextlib.ExitStack()
        self._log: Callable[[dict[str, float]], None] = lambda row: None
        self._warmup = 0
        self._journal: Journal | None = None

    def __enter__(self) -> RefreshCallback:
        if is_main():
            kind = InTheTrainer if self._section.mode == "sync" else WithRefresher
            self._arrivals: Arrivals = self._open.enter_context(
                kind(self._config, self._training, self._store)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
        if not is_main() or kind is not None:
            return
        if self._journal is not None:
            self._journal.generations(self._store.all())
        self._home.say(self._training, "finished")
        # a refresher that was started by hand may still be reading them
        if self._section.refresher != "external":
            remove_weights(self._home.weights, 0)
            self._home.prune_cache(set())
            self._home.sweep()

    def attach(self, trainer: SentenceTransformerTrainer) -> None:
        """Follow a trainer's steps, and log what happens through it."""
        self._log = partial(_log_beside, trainer)
        self._trigger.watch(trainer.loss)
        trainer.add_callback(self)

    def dev_values(self) -> dict[int, float]:
        """nDCG@10 in the whole corpus by the weights' step, where early stopping measures the same.

        Of all generations so far. The vectors of a partial refresh are not those of the weights.
        """
        stopping, gate = self._config.train.early_stopping, self._section.gate
        same = (stopping.split, stopping.measure) == (gate.split, NDCG)
        if not same or self._section.partial.kind != "off":
            return {}
        rows = RefreshLog(self._home.folder).rows()
        found = {row["step"]: row["ndcg"] for row in rows if row["kind"] == "dev"}
        # a number that is not finite stands there by its name
        return {step: ndcg for step, ndcg in found.items() if isinstance(ndcg, float)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._warmup = args.get_warmup_steps(state.max_steps)
        step = state.global_step
        if step and self._trigger.config.easy_share is not None:
            self._trigger.load(checkpoint_folder(Path(args.output_dir), step))
        if is_main():
            self._journal = Journal(self._home, step)
            self._swaps = Swaps(self._home)
            self._arrivals.go_on(self._swaps, step, self._adoption.latest)
        main_first(self._adoption.write_pools if is_main() else lambda: None)

    def on_step_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        since = self._adoption.since
        done = state.global_step - since + 1
        if not self._section.rewarm or not self._adoption.latest or not 0 < done < self._warmup:
            return
        # the scheduler computes every rate anew after the step
        rates = kwargs["lr_scheduler"].get_last_lr()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * done / self._warmup

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        asked = self._trigger.end_step(step)
        if self._trigger.config.easy_share is None:
            asked = step % self._section.every_steps == 0
        # later ones would never be drawn from
        if step + self._ahead >= state.max_steps:
            return
        taken = by_main(partial(self._border, step, asked, kwargs["model"]))
        if taken is not None:
            self._adoption.swap(*taken)
            self._trigger.restart(taken[1])
            if is_main():
                self._adoption.remove(Path(args.output_dir), self._swaps, self._section.keep)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not is_main():
            return
        # the manifest of the checkpoint comes after this
        self._note(state.global_step)
        if self._trigger.config.easy_share is not None:
            self._trigger.save(checkpoint_folder(Path(args.output_dir), state.global_step))
        self._adoption.remove(Path(args.output_dir), self._swaps, self._section.keep)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if is_main():
            self._note(state.global_step)

    def _note(self, step: int) -> None:
        if self._journal is not None:
            self._journal.trained(step)

    def _border(self, step: int, asked: bool, model: SentenceTransformer) -> tuple[int, int] | None:
        """What the first process does after a step: the generation to swap to, and since when."""
        begun, journal = time.monotonic(), self._journal
        if journal is None:
            raise RuntimeError("a step before the training began")
        if asked:
            weights, _ = publish_weights(model, self._home.weights, step, self._training)
            remove_weights(self._home.weights, _KEPT_WEIGHTS)
            self._arrivals.published(weights)
            journal.published(step)
        ready = self._arrivals.of_step(step)
        journal.generations(self._arrivals.seen)
        taken = None
        # the last swap must be in force before the next is decided
        if ready is not None and step >= self._adoption.since:
            taken = self._take(ready, step)
        if asked or taken or self._arrivals.waited:
            journal.stall(step, time.monotonic() - begun)
        if taken is not None and ready is not None:
            self._log(journal.swap(ready, step, taken[1]))
        return taken

    def _take(self, generation: Generation, step: int) -> tuple[int, int] | None:
        if not generation.manifest.intact(generation.folder):
            self._arrivals.refuse(generation)
            return None
        since = step + self._ahead
        self._adoption.write(generation)
        self._swaps.record(Swap(generation.number, step, since))
        self._arrivals.taken(generation)
        return generation.number, since


def _log_beside(trainer: SentenceTransformerTrainer, row: dict[str, float]) -> None:
    """Log a row, and leave what the trainer is about to log itself to be logged."""
    due = trainer.control.should_log
    trainer.log(row)
    trainer.control.should_log = due

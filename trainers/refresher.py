"""The verb `refresh`: a process that makes generations of the newest published weights."""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..core.config import load_config
from ..core.errors import PyriteError
from .generations import Generation, Generations
from .make_generation import make_generation
from .refresh_home import CONFIG, TRAINING, RefreshHome
from .refresh_lock import refresher_lock
from .run_config import TrainConfig
from .weights import newest_weights

logger = logging.getLogger(__name__)

_PAUSE_S = 0.1
_ORPHAN_CHECK_S = 0.5
# until the refresher of a trainer that was killed has noticed
_PATIENCE_S = 30.0
# a trainer that looks whether anybody is at work holds the lock for a moment
_PROBE_S = 1.0
_NICE = 10


def refresh(
    run: Path,
    overrides: Sequence[str] = (),
    once: bool = False,
    parent: int | None = None,
    patient: bool = False,
) -> int:
    """Make a generation whenever newer weights are published, until the training is finished.

    Returns how many were made. `once` ends after the newest weights there are. `parent` is the
    trainer that started this process: without it there is nothing left to do. Raises PyriteError
    if the run does not refresh its negatives, or another refresher is at it; `patient` gives that
    one time to end, as a trainer's own does.
    """
    home = RefreshHome.of(run)
    if parent is not None:
        os.nice(_NICE)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if home.read(TRAINING) is None:
        raise PyriteError(
            f"{run}: no training that refreshes its negatives; start pyrite train with"
            " refresh.mode=async and refresh.refresher=external first"
        )
    patient = patient or parent is not None
    with refresher_lock(home.lock, _PATIENCE_S if patient else _PROBE_S):
        # seconds that the first weights need not wait for
        importlib.import_module("sentence_transformers")
        return _loop(home, run, overrides, once)


def _loop(home: RefreshHome, run: Path, overrides: Sequence[str], once: bool) -> int:
    made, seen = 0, None
    while True:
        training = home.read(TRAINING)
        newest = newest_weights(home.weights, training["key"])
        if newest is not None and newest != seen:
            config = _config(home, run, overrides)
            if config.threads:
                torch.set_num_threads(config.threads)
            try:
                say(make_generation(config, newest, Generations(home, newest.training)))
                made += 1
            except (PyriteError, FileNotFoundError):
                # newer weights may have taken the place of those
                if newest == newest_weights(home.weights, training["key"]):
                    raise
                continue
            seen = newest
        elif once or training["state"] == "finished":
            return made
        else:
            time.sleep(_PAUSE_S)


def _config(home: RefreshHome, run: Path, overrides: Sequence[str]) -> TrainConfig:
    config = load_config(TrainConfig, home.folder / CONFIG, overrides)
    # the folder may lie elsewhere on this machine
    return config.model_copy(
        update={"runs_dir": str(run.absolute().parent), "name": run.absolute().name}
    )


def say(made: Generation) -> None:
    """Print what became of a generation."""
    churn = made.measured("churn")
    logger.info(
        "generation %d: %s, weights of step %d, churn %s, %.1f s",
        made.number,
        "adopted" if made.adopted else "refused",
        made.step,
        "unknown" if churn is None or churn["value"] is None else f"{churn['value']:.3f}",
        made.manifest.data["seconds"],
    )


def _end_with(parent: int) -> None:
    """End this process once another one has taken the place of its parent."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_S)
    # nothing half-written is ever read: a refresher may end anywhere
    os._exit(1)

"""Checkpoints that a kill cannot spoil: a manifest comes last, and decides what is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..core.store import Manifest
from .best import best_step
from .processes import is_main, process_count, wait_for_all

CHECKPOINTS = "checkpoints"
KEPT = 2
_STATE = "trainer_state.json"


class SealCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Writes a checkpoint's manifest once the trainer has finished writing its files.

    Kept are the last two, and the one with the best weights on a development split.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # weights that turn out to be the best must have been kept
        control.should_save |= control.should_evaluate
        # a loss that is not logged yet is not in the checkpoint
        control.should_log |= control.should_save

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wait_for_all()
        if is_main():
            folder = Path(args.output_dir)
            Manifest.write(
                checkpoint_folder(folder, state.global_step),
                schema=1,
                kind="checkpoint",
                key=self._key,
                step=state.global_step,
                processes=process_count(),
            )
            _remove_old(folder, best_step(state.log_history))
        wait_for_all()


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the trainer writes the checkpoint of a step."""
    return folder / f"checkpoint-{step}"


def last_checkpoint(folder: Path, key: str) -> Path | None:
    """The newest whole checkpoint of the same training; anything else in `folder` is removed.

    One whose best predecessor is gone, or of another number of processes, is not whole.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("checkpoint-*")):
        manifest = Manifest.read(path)
        if manifest is not None and _same(manifest, key) and manifest.intact(path):
            found[int(manifest.data["step"])] = path
        else:
            shutil.rmtree(path)
    for step in sorted(found, reverse=True):
        best = best_step(history_of(found[step]))
        if best is None or best in found:
            return found[step]
        shutil.rmtree(found.pop(step))
    return None


def history_of(checkpoint: Path) -> list[dict[str, float]]:
    """What the trainer had logged when it wrote a checkpoint."""
    state = checkpoint / _STATE
    if not state.is_file():
        return []
    history: list[dict[str, float]] = json.loads(state.read_text("utf-8"))["log_history"]
    return history


def _same(manifest: Manifest, key: str) -> bool:
    data = manifest.data
    return data.get("key") == key and data.get("processes", 1) == process_count()


def _remove_old(folder: Path, best: int | None) -> None:
    steps = sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*"))
    for step in steps[:-KEPT]:
        if step != best:
            shutil.rmtree(checkpoint_folder(folder, step))

"""A training's progress in a log: lines in the place of the bar and of a dictionary a step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from ..core.progress import ProgressLines


class LogLines(TrainerCallback):  # type: ignore[misc]
    """Says at each tenth of the steps how far the training of `name` is, with the newest loss."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: ProgressLines | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            done = state.global_step
            self._lines = ProgressLines(f"train {self._name}", state.max_steps, "steps", done)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if self._lines is not None and logs and "loss" in logs:
            self._lines.set_postfix_str(f"loss {logs['loss']:.4g}")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._lines is not None:
            self._lines.update(state.global_step - self._lines.n)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._lines is not None:
            self._lines.close()


def lines_for(trainer: Any, name: str) -> None:
    """Let `trainer`, whose bars are off, print such lines."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(LogLines(name))

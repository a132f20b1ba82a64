"""Fine-tuning with sentence-transformers' trainer: checkpoints that a kill cannot spoil."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import (
    SentenceTransformerTrainingArguments,
)
from transformers import TrainerCallback

from ..core.config import Section
from ..core.errors import PyriteError
from ..core.store import Manifest, discard, publish
from .info_nce import InfoNCE
from .training_set import TrainingSet

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

_CHECKPOINTS = "checkpoints"


class TrainSection(Section):
    """How to fine-tune; the same for in-batch and for mined negatives."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; null: by epochs")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs, if steps is null")
    batch_size: int = Field(32, ge=2)
    negatives: int | None = Field(None, ge=1, description="per row; null: all that were mined")
    learning_rate: float = Field(5e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    temperature: float = Field(0.05, gt=0)
    dropout: float | None = Field(None, ge=0, lt=1, description="null: the model's own")
    bf16: bool = False
    save_every: int = Field(100, ge=1, description="steps between checkpoints")


class _SealCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Writes a checkpoint's manifest once the trainer has finished writing its files."""

    def __init__(self, key: str) -> None:
        self._key = key

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # a loss that is not logged yet is not in the checkpoint
        control.should_log |= control.should_save

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        Manifest.write(folder, schema=1, kind="checkpoint", key=self._key, step=state.global_step)


def fit(
    model: SentenceTransformer,
    rows: TrainingSet,
    texts: datasets.Dataset,
    config: TrainSection,
    folder: Path,
    key: str,
    seed: int,
    prompts: dict[str, str],
) -> float:
    """Train `model` in place and save it to `folder`; returns the mean training loss.

    An earlier run with the same `key` that was killed is continued at its last whole checkpoint,
    with the same batches in the same order. Raises PyriteError if the rows do not fill one batch.
    """
    if len(texts) < config.batch_size:
        raise PyriteError(
            f"train.batch_size={config.batch_size}, but there are {len(texts)} training pairs;"
            f" set train.batch_size to at most {len(texts)}"
        )
    if config.dropout is not None:
        set_dropout(model, config.dropout)
    loss = InfoNCE(model, torch.from_numpy(rows.known), rows.span, config.temperature)
    loss.to(model.device)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(model, config, folder / _CHECKPOINTS, seed, prompts),
        train_dataset=texts,
        loss=loss,
        callbacks=[_SealCheckpoints(key)],
    )
    last = last_checkpoint(folder / _CHECKPOINTS, key)
    if last is not None:
        logger.info("training goes on at %s", last)
    # the trainer prints its log; standard output belongs to the verb's result
    with contextlib.redirect_stdout(sys.stderr):
        result = trainer.train(resume_from_checkpoint=str(last) if last else None)
    training_loss = _mean_loss(trainer.state.log_history)
    _save(model, folder, key, training_loss, result.global_step)
    return training_loss


def _mean_loss(history: list[dict[str, float]]) -> float:
    """Mean over all steps, also those before a kill, which the trainer's own mean leaves out."""
    total, last = 0.0, 0.0
    for entry in history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - last)
            last = entry["step"]
    return total / last


def _arguments(
    model: SentenceTransformer,
    config: TrainSection,
    folder: Path,
    seed: int,
    prompts: dict[str, str],
) -> SentenceTransformerTrainingArguments:
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps or -1,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,
        bf16=config.bf16,
        prompts=prompts or None,
        seed=seed % 2**32,
        data_seed=seed % 2**32,
        # the smaller last batch would be another number of in-batch negatives
        dataloader_drop_last=True,
        use_cpu=model.device.type == "cpu",
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=10,
        report_to="none",
    )


def last_checkpoint(folder: Path, key: str) -> Path | None:
    """The newest whole checkpoint of the same training; anything else in `folder` is removed."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("checkpoint-*")):
        manifest = Manifest.read(path)
        if manifest is not None and manifest.data.get("key") == key and manifest.intact(path):
            found[int(manifest.data["step"])] = path
        else:
            shutil.rmtree(path)
    return found[max(found)] if found else None


def set_dropout(model: torch.nn.Module, rate: float) -> None:
    """Set every dropout layer's rate."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate


def _save(model: SentenceTransformer, folder: Path, key: str, loss: float, steps: int) -> None:
    staging = folder / "model.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    model.save(str(staging), create_model_card=False)
    target = folder / "model"
    discard(folder)
    shutil.rmtree(target, ignore_errors=True)
    publish(staging, target)
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
    Manifest.write(folder, schema=1, kind="model", key=key, steps=steps, training_loss=loss)


def finished(folder: Path, key: str) -> Manifest | None:
    """The manifest of a model that was trained with the same key and is whole, or None."""
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("key") != key or not manifest.intact(folder):
        return None
    return manifest

"""Fine-tuning with sentence-transformers' trainer: checkpoints that a kill cannot spoil."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import (
    SentenceTransformerTrainingArguments,
)
from torch import Tensor

from ..core.adapters import merge_adapters
from ..core.store import Manifest, discard, publish
from ..core.terminal import on_terminal
from .arguments import arguments, check_fills, encoder_options, log_cost, tensorboard
from .best import best_step, exhausted, measured
from .checkpoints import (
    CHECKPOINTS,
    SealCheckpoints,
    checkpoint_folder,
    history_of,
    last_checkpoint,
)
from .early_stopping import DevEvaluator, StopEarly
from .feed import Feed, FeedTrainer
from .interpolate import copy_weights, interpolate
from .log_lines import lines_for
from .lora import add_lora
from .mixed_feed import MixedFeed
from .processes import is_main, main_first, wait_for_all
from .train_config import TrainSection

if TYPE_CHECKING:
    import datasets

    from .refresh_callback import RefreshCallback

logger = logging.getLogger(__name__)

_MODEL = "model"


def fit(
    model: SentenceTransformer,
    loss: torch.nn.Module,
    texts: datasets.Dataset | Feed | MixedFeed,
    config: TrainSection,
    folder: Path,
    key: str,
    seed: int,
    prompts: dict[str, str],
    *,
    dev: DevEvaluator | None = None,
    facts: Mapping[str, Any] | None = None,
    refresh: RefreshCallback | None = None,
) -> float:
    """Train `model` in place by `loss` and save it to `folder`; returns the mean training loss.

    An earlier run with the same `key` that was killed is continued at its last whole checkpoint,
    with the same batches in the same order. `texts` are columns, or a feed that draws them. `dev`
    measures for `config.early_stopping`; `facts` go into the model's manifest; `refresh` swaps
    what the feed draws from. Raises PyriteError if the rows do not fill one batch.
    """
    size, columns, kind = _source(texts, loss, prompts)
    check_fills(size, config.batch_size)
    if config.dropout is not None:
        set_dropout(model, config.dropout)
    base = copy_weights(model) if config.base_weight else {}
    if config.lora.r is not None:
        add_lora(model, config.lora, seed)
    log_cost(model, config, columns)
    trainer = kind(
        model=model,
        args=arguments(
            SentenceTransformerTrainingArguments,
            model,
            config,
            folder,
            seed,
            prompts=prompts or None,
            **encoder_options(config, folder),
        ),
        loss=loss,
        evaluator=dev,
    )
    trainer.add_callback(StopEarly(config.early_stopping.patience))
    if refresh is not None:
        refresh.attach(trainer)
    if "tensorboard" in config.report_to:
        trainer.add_callback(tensorboard(folder / "logs"))
    finish = partial(_finish, model, config, base)
    report = None if dev is None else partial(_pool_facts, dev, refresh)
    return run_trainer(trainer, folder, key, config.early_stopping.patience, finish, facts, report)


def _pool_facts(
    dev: DevEvaluator, refresh: RefreshCallback | None, history: Sequence[dict[str, float]]
) -> dict[str, Any]:
    return dev.facts(history, refresh.dev_values() if refresh is not None else {})


def _source(
    texts: datasets.Dataset | Feed | MixedFeed, loss: torch.nn.Module, prompts: dict[str, str]
) -> tuple[int, int, Callable[..., SentenceTransformerTrainer]]:
    """How many rows there are, how many texts in each, and the trainer that they come in."""
    if isinstance(texts, (Feed, MixedFeed)):
        texts.watch(loss)
        return len(texts.dataset), len(texts.columns), partial(FeedTrainer, texts, prompts)
    columns = sum(name != "label" for name in texts.column_names)
    return len(texts), columns, partial(SentenceTransformerTrainer, train_dataset=texts)


def _finish(model: SentenceTransformer, config: TrainSection, base: dict[str, Tensor]) -> None:
    if config.lora.r is not None:
        merge_adapters(model)
    if base:
        interpolate(model, base, config.base_weight)


def run_trainer(
    trainer: Any,
    folder: Path,
    key: str,
    patience: int = 1,
    finish: Callable[[], None] | None = None,
    facts: Mapping[str, Any] | None = None,
    report: Callable[[Sequence[dict[str, float]]], Mapping[str, Any]] | None = None,
) -> float:
    """Train a trainer's model and save it to `folder`; returns the mean training loss.

    `trainer` is a sentence-transformers trainer with the arguments that `arguments` makes. Where
    it has measured on a development split, the best weights are saved, else the last; `finish`
    changes them before. `report` has more facts for the manifest, from the trainer's log.
    """
    trainer.add_callback(SealCheckpoints(key))
    if not on_terminal():
        lines_for(trainer, folder.name)
    checkpoints = folder / CHECKPOINTS
    last = main_first(lambda: last_checkpoint(checkpoints, key))
    history = history_of(last) if last else []
    if not exhausted(history, patience):
        if last is not None:
            logger.info("training goes on at %s", last)
        # the trainer prints its log; standard output belongs to the verb's result
        with contextlib.redirect_stdout(sys.stderr):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        history = trainer.state.log_history
    training_loss, steps = _mean_loss(history)
    best = _load_best(trainer.model, checkpoints, history)
    facts = {"steps": steps, "training_loss": training_loss, **best, **(facts or {})}
    if finish is not None:
        finish()
    if is_main():
        _save(trainer.model, folder, key, {**facts, **(report(history) if report else {})})
    wait_for_all()
    return training_loss


def _load_best(model: Any, checkpoints: Path, history: list[dict[str, float]]) -> dict[str, Any]:
    """Give the model its best weights, if any were measured; what the manifest says of them."""
    best = best_step(history)
    if best is None:
        return {}
    path = checkpoint_folder(checkpoints, best)
    found = type(model)(str(path), device="cpu", trust_remote_code=model.trust_remote_code)
    model.load_state_dict(found.state_dict())
    logger.info("the best weights are those of step %d", best)
    return {"best_step": best, "best_value": dict(measured(history))[best]}


def _mean_loss(history: list[dict[str, float]]) -> tuple[float, int]:
    """Mean over all steps, also those before a kill, which the trainer's own mean leaves out."""
    total, last = 0.0, 0
    for entry in history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - last)
            last = int(entry["step"])
    return total / last, last


def set_dropout(model: torch.nn.Module, rate: float) -> None:
    """Set every dropout layer's rate."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate


def _save(model: Any, folder: Path, key: str, facts: Mapping[str, Any]) -> None:
    staging = folder / f"{_MODEL}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    model.save(str(staging), create_model_card=False)
    target = folder / _MODEL
    discard(folder)
    shutil.rmtree(target, ignore_errors=True)
    publish(staging, target)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    # logs and the model card are written at other times
    names = [path.relative_to(folder).as_posix() for path in target.rglob("*") if path.is_file()]
    Manifest.write(folder, only=names, schema=1, kind="model", key=key, **facts)


def finished(folder: Path, key: str) -> Manifest | None:
    """The manifest of a model that was trained with the same key and is whole, or None."""
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("key") != key or not manifest.intact(folder):
        return None
    return manifest

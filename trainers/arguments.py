"""The trainer's arguments, and what a step costs."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.integrations import TensorBoardCallback

from ..core.errors import MissingExtraError, PyriteError
from ..core.terminal import on_terminal
from .checkpoints import CHECKPOINTS
from .processes import process_count
from .train_config import Schedule, TrainSection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

_ADAM_NUMBERS = 2


def arguments(kind: Any, model: Any, config: Schedule, folder: Path, seed: int, **more: Any) -> Any:
    """The training arguments of `config` for a trainer whose arguments are a `kind`."""
    options = {
        "output_dir": str(folder / CHECKPOINTS),
        "max_steps": config.steps or -1,
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size // process_count(),
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup,
        "bf16": config.bf16,
        "seed": seed % 2**32,
        "data_seed": seed % 2**32,
        "use_cpu": model.device.type == "cpu",
        "save_strategy": "steps",
        "save_steps": config.save_every,
        "logging_strategy": "steps",
        "logging_steps": 10,
        "report_to": "none",
        "disable_tqdm": not on_terminal(),
    }
    return kind(**{**options, **more})


def encoder_options(config: TrainSection, folder: Path) -> dict[str, Any]:
    """The arguments that only the training of an encoder has."""
    stopping = config.early_stopping
    # tensorboard's own folder would be inside the checkpoints, which go at the end
    reporters = [name for name in config.report_to if name != "tensorboard"]
    # transformers warns of the name, which is the one that its whole range of versions has
    recompute = {"gradient_checkpointing": True} if config.gradient_checkpointing else {}
    return {
        **recompute,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "lr_scheduler_type": config.schedule,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "fp16": config.fp16,
        "dataloader_num_workers": config.num_workers,
        # the smaller last batch would be another number of in-batch negatives
        "dataloader_drop_last": True,
        "eval_strategy": "no" if stopping.split is None else "steps",
        "eval_steps": stopping.every,
        "logging_steps": config.logging_steps,
        "report_to": reporters or "none",
        "run_name": f"{folder.parent.parent.name} {folder.name}",
    }


def check_training(config: TrainSection, device: str) -> None:
    """Raise PyriteError for what this machine or this number of processes cannot do."""
    for name in config.report_to:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"train.report_to={name}", name, name)
    if config.lora.r is not None and importlib.util.find_spec("peft") is None:
        raise MissingExtraError("train.lora", "peft", "lora")
    if config.fp16 and not device.startswith("cuda"):
        raise PyriteError(
            f"train.fp16=true needs a CUDA device, but encoder.device={device}; set"
            " train.bf16=true or encoder.device=cuda"
        )
    processes = process_count()
    if config.batch_size % processes:
        raise PyriteError(
            f"train.batch_size={config.batch_size} is the batch of all {processes} processes"
            f" together; set it to a multiple of {processes}"
        )


def check_model(model: SentenceTransformer, config: TrainSection) -> None:
    """Raise PyriteError for widths that the model's vectors have not, or layers that it has not."""
    width = model.get_embedding_dimension()
    if width is not None and max(config.matryoshka_dims, default=0) > width:
        raise PyriteError(
            f"train.matryoshka_dims={list(config.matryoshka_dims)}: the model's vectors have"
            f" {width} numbers; set each to at most {width}"
        )
    linear = [name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    for target in config.lora.target_modules:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            names = sorted({name.rpartition(".")[2] for name in linear})
            raise PyriteError(
                f"train.lora.target_modules={list(config.lora.target_modules)}: no linear layer of"
                f" the model is named {target}; its names are {', '.join(names)}"
            )


def tensorboard(folder: Path) -> TensorBoardCallback:
    """A callback that writes event files to `folder`."""
    callback = TensorBoardCallback()
    callback.logging_dir = str(folder)
    return callback


def log_cost(model: SentenceTransformer, config: TrainSection, columns: int) -> None:
    """Print the effective batch and what decides the memory of a step.

    `columns` texts belong to a pair: the query, the positive and its negatives.
    """
    processes = process_count()
    per_process = config.batch_size // processes
    logger.info(
        "effective batch: %d pairs (%d on each of %d processes) x %d accumulated = %d pairs a step",
        config.batch_size,
        per_process,
        processes,
        config.gradient_accumulation,
        config.batch_size * config.gradient_accumulation,
    )
    sizes = [(p.numel(), p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = sum(n for n, _, t in sizes if t)
    fixed = sum(n * b * (1 + t * (1 + _ADAM_NUMBERS)) for n, b, t in sizes)
    chunk = config.mini_batch_size or per_process * columns
    at_once = (
        f"{config.mini_batch_tokens:,} tokens"
        if config.mini_batch_tokens
        else f"{min(chunk, per_process * columns):,} texts of at most {model.max_seq_length} tokens"
    )
    logger.info(
        "%s of %s parameters are trained; weights, gradients and optimizer take %.0f MiB, beside"
        " the activations of %s%s",
        f"{trained:,}",
        f"{sum(n for n, _, _ in sizes):,}",
        fixed / 2**20,
        at_once,
        ", recomputed layer by layer" if config.gradient_checkpointing else "",
    )


def check_fills(size: int, batch_size: int) -> None:
    """Raise PyriteError unless the `size` pairs of a training fill one batch."""
    if size < batch_size:
        raise PyriteError(
            f"train.batch_size={batch_size}, but there are {size} training pairs;"
            f" set train.batch_size to at most {size}"
        )

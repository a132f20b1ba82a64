"""Encoding and training with the configured model, timed on a few batches."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from ...core.embeddings import PART_ROWS
from ...core.encoder import Encoder, Role
from ...core.encoders.parallel import encode_batches
from ...core.free_memory import free_memory
from ...core.ids import I64
from ...core.sbert import load_model
from ..run_config import TrainConfig
from .shape import ModelShape, batches_of, step_work, widest
from .sizes import Sizes, TextFacts
from .stopwatch import Stopwatch

_BATCHES = 16
_SECONDS = 4.0  # for a role's batches
_WARM_ROWS = 8
_TRAIN_SECONDS = 20.0
_STEPS = 3
_GOLDEN = 0.6180339887


def batch_work(shape: ModelShape | None, rows: int, width: int) -> float:
    """Operations of a batch; padded tokens where the model's numbers are not known."""
    return float(rows * width) if shape is None else shape.work(rows, width)


def measure_encode(
    encoder: Encoder, shape: ModelShape | None, facts: TextFacts, role: Role, rows: int, most: int
) -> float:
    """Operations in a second, tokenization and all, on batches as those of the run.

    A batch that would take too long is cut, so a large model on a slow machine is timed on fewer
    texts at a time than it will read.
    """
    batches = batches_of(facts.tokens_S, min(rows, PART_ROWS), most)
    count = min(_BATCHES, len(batches))

    def work(batch: I64) -> float:
        return batch_work(shape, batch.size, int(facts.tokens_S[batch].max()))

    def run(chosen: list[I64]) -> float:
        texts = [[facts.texts[at] for at in batch] for batch in chosen]
        with Stopwatch() as watch:
            encoder.lengths([text for batch in texts for text in batch], role)
            for _ in encode_batches(encoder, texts, role):
                pass
        return watch.seconds

    def within(seconds: float, speed: float, number: int) -> list[I64]:
        """So many batches, from the longest to the shortest, each cut to its share of the time."""
        chosen, allowed = [], speed * seconds / number
        for at in np.linspace(0, len(batches) - 1, number).astype(int):
            batch = batches[at]
            chosen.append(batch[: max(1, int(batch.size * min(1.0, allowed / work(batch))))])
        return chosen

    few = [batches[-1][:_WARM_ROWS]]
    run(few)
    # whole batches are faster than a few rows, and the first ones slower than the next
    first = within(_SECONDS / 4, 2 * work(few[0]) / run(few), min(2, count))
    speed = sum(map(work, first)) / run(first)
    chosen = within(_SECONDS, speed, count)
    return sum(map(work, chosen)) / run(chosen)


def measure_tokens(encoder: Encoder, facts: TextFacts) -> float:
    """Tokens in a second of tokenization alone."""
    texts = list(facts.texts[:: max(1, len(facts.texts) // 256)])
    encoder.lengths(texts[:_WARM_ROWS], "document")
    with Stopwatch() as watch:
        lengths = encoder.lengths(texts, "document")
    return float(lengths.sum()) / watch.seconds


class _Clock(TrainerCallback):  # type: ignore[misc]
    """When each step ended, and how long the checkpoint took."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.saved = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(Stopwatch.clock())

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.saved = Stopwatch.clock() - self.ends[-1]


def measure_training(
    config: TrainConfig, shape: ModelShape, sizes: Sizes, forward: float, scratch: Path
) -> tuple[float | None, float, float]:
    """Operations in a second of training steps, seconds around them, seconds of a checkpoint.

    `forward` is the measured rate of encoding: steps that would take too long by it, or that do
    not fit into memory, are not tried, and the first is None.
    """
    rows = config.train.batch_size
    negatives = config.train.negatives or config.sampler.total
    columns = [sizes.query, *(sizes.document for _ in range(1 + negatives))]

    def work() -> float:
        return step_work(shape, [widest(facts.tokens_S, rows) for facts in columns], rows)

    # backward passes are about as fast as forward ones
    expected = work() / forward
    if expected * 2 / rows > _TRAIN_SECONDS or not fits(shape):
        return None, 0.0, 0.0
    rows = max(2, int(rows * min(1.0, _TRAIN_SECONDS / (expected * _STEPS))))
    clock = _Clock()
    texts = _rows(columns, rows * _STEPS)
    # the trainer prints its log
    with Stopwatch() as watch, contextlib.redirect_stdout(sys.stderr):
        _trainer(config, texts, rows, clock, scratch).train()
    shutil.rmtree(scratch, ignore_errors=True)
    each = (clock.ends[-1] - clock.ends[0]) / (_STEPS - 1)
    return work() / each, max(0.0, watch.seconds - _STEPS * each - clock.saved), clock.saved


def fits(shape: ModelShape) -> bool:
    """Whether weights, gradients and optimizer are far below the memory that is free."""
    return 16 * shape.parameters < free_memory()[0] / 2


def _rows(columns: list[TextFacts], count: int) -> dict[str, list[str]]:
    """Texts of `count` training rows, in no order of length."""
    names = ["query", "positive", *(f"negative_{at + 1}" for at in range(len(columns) - 2))]
    found = {}
    for column, (name, facts) in enumerate(zip(names, columns, strict=True)):
        shares = (np.arange(count) + 0.37 * column) * _GOLDEN % 1.0
        places = (shares * facts.tokens_S.size).astype(int)
        found[name] = [facts.texts[at] for at in places.tolist()]
    return found


def _trainer(
    config: TrainConfig,
    columns: dict[str, list[str]],
    rows: int,
    clock: _Clock,
    scratch: Path,
) -> Any:
    import datasets
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import (
        SentenceTransformerTrainingArguments,
    )

    from ..arguments import arguments, encoder_options
    from ..checkpoints import SealCheckpoints
    from ..fit import set_dropout
    from ..lora import add_lora
    from ..loss import ContrastiveLoss

    model = load_model(config.encoder)
    plain = type(config.train.early_stopping)()
    section = config.train.model_copy(
        update={
            "steps": _STEPS,
            "batch_size": rows,
            "save_every": _STEPS,
            "early_stopping": plain,
            "report_to": (),
            "gradient_accumulation": 1,
        }
    )
    if section.dropout is not None:
        set_dropout(model, section.dropout)
    if section.lora.r is not None:
        add_lora(model, section.lora, config.seed)
    loss = ContrastiveLoss(
        model,
        mini_batch_size=section.mini_batch_size,
        mini_batch_num_tokens=section.mini_batch_tokens,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(
            SentenceTransformerTrainingArguments,
            *(model, section, scratch, config.seed),
            **encoder_options(section, scratch),
        ),
        loss=loss,
        train_dataset=datasets.Dataset.from_dict(columns),
    )
    trainer.add_callback(SealCheckpoints("plan"))
    trainer.add_callback(clock)
    return trainer

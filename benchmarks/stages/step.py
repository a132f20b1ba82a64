"""A training step, larger and larger batches, beside the plain trainer of sentence-transformers."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import STATE, Reading
from dynamic import time_steps, trainer_of
from stage import Stage

NEGATIVES, MAX_LENGTH, STEPS, WARM, THREADS = 2, 64, 8, 3, 2


def options(size: int) -> argparse.Namespace:
    return argparse.Namespace(
        folder=STATE / "step",
        negatives=NEGATIVES,
        max_length=MAX_LENGTH,
        steps=STEPS,
        batch=size,
        workers=0,
    )


def timed(size: int, contestant: str, plain: bool = False) -> Reading:
    import torch
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as output:
        trainer = trainer_of(contestant, options(size), Path(output))
        if plain:
            trainer = SentenceTransformerTrainer(
                model=trainer.model,
                args=trainer.args,
                train_dataset=trainer.train_dataset.remove_columns("label"),
                loss=MultipleNegativesRankingLoss(trainer.model),
            )
        return time_steps(trainer, STEPS, WARM)


def static(folder: Path, size: int) -> Reading:
    return timed(size, "static")


def drawn(folder: Path, size: int) -> Reading:
    return timed(size, "sample")


def peer(folder: Path, size: int) -> Reading:
    return timed(size, "static", plain=True)


def prepare(folder: Path, size: int) -> None:
    from dynamic import prepared

    prepared(options(size).folder, NEGATIVES)


STAGE = Stage(
    "training step",
    "pairs in a batch",
    f"MiniLM, {NEGATIVES} negatives each, {MAX_LENGTH} tokens, {THREADS} threads; mean of"
    f" {STEPS - WARM} steps after {WARM}; texts of any length, so batches differ",
    (8, 16, 32),
    (2, 3, 4),
    prepare,
    {
        "pyrite, static negatives": static,
        "pyrite, drawn at each step": drawn,
        "SentenceTransformerTrainer + MultipleNegativesRankingLoss": peer,
    },
)

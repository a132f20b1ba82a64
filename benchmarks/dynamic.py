"""Step time with dynamic draws, beside the same trainer with static columns.

    python benchmarks/dynamic.py [--steps 25] [--batch 16] [--negatives 2] [--rounds 3]

Both train the same model on the embedded dataset, on as many texts a step, without saving, each in
a process of its own and in turn; the first steps are not timed. Static columns hold all texts in
Arrow; the feed draws, looks up and collates. Dynamic draws may cost 5% of a step.

Whole steps differ by what is drawn too: other texts are longer or shorter, which `tokens` shows. So
the batches are then made once more without the model: `batch` is what making one costs, and
`overhead` what making a dynamic one costs more, as a share of a static step.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import Reading, in_process, measured, publish, report, rounds, row

WARM, POOL = 5, 64
DRAWS = ("rotate", "sample", "replace")


def prepared(folder: Path, negatives: int) -> tuple[Any, Any, Any]:
    """The dataset, its training pairs and a pool of random negatives for each query."""
    from pyrite.core.dataset import DatasetConfig, open_dataset, text_hashes
    from pyrite.miner.negatives_file import NegativeRows, ScoredRows
    from pyrite.trainers.training_set import training_set

    dataset = open_dataset(DatasetConfig(), folder / "cache")
    qrels = dataset.qrels("train", 1)
    queries = qrels.with_positives()
    ids = np.random.default_rng(0).integers(0, len(dataset.corpus), (queries.size, POOL))
    scores = np.full(ids.shape, 0.5, dtype=np.float32)
    mined = ScoredRows(queries, ids, scores, scores)
    hashes = np.asarray(text_hashes(dataset.corpus, folder / "cache"))
    return dataset, training_set(qrels, NegativeRows(queries, ids), hashes, negatives), mined


def trainer_of(contestant: str, options: argparse.Namespace, output: Path) -> Any:
    """A trainer of the whole model, with static columns or with a feed."""
    import torch
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import (
        SentenceTransformerTrainingArguments,
    )

    from pyrite.core.sbert import EncoderConfig, load_model
    from pyrite.trainers.feed import FeedTrainer, open_feed
    from pyrite.trainers.loss import ContrastiveLoss
    from pyrite.trainers.masks import Known
    from pyrite.trainers.pool import write_pool
    from pyrite.trainers.row_table import asked_of, write_rows
    from pyrite.trainers.train_config import TrainSection
    from pyrite.trainers.training_set import as_dataset

    dataset, pairs, mined = prepared(options.folder, options.negatives)
    model = load_model(EncoderConfig(max_length=options.max_length))
    loss = ContrastiveLoss(model, known=Known(torch.from_numpy(pairs.known), pairs.span))
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(output),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch,
        dataloader_drop_last=True,
        dataloader_num_workers=options.workers,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    shared = {"model": model, "args": arguments, "loss": loss}
    if contestant == "static":
        return SentenceTransformerTrainer(train_dataset=as_dataset(pairs, dataset), **shared)
    config = TrainSection(draw=contestant, batch_size=options.batch, num_workers=options.workers)
    write_pool(output, 0, mined, asked_of(pairs), "key")
    rows = write_rows(output / "rows", pairs, dataset, "all")
    feed = open_feed(output, rows, dataset, None, config, options.negatives, 0)
    feed.watch(loss)
    return FeedTrainer(feed, {}, **shared)


def time_steps(trainer: Any, steps: int, warm: int) -> Reading:
    """Seconds a step, over what follows the first `warm` of `steps`."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        begun = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == warm:
                self.begun = time.perf_counter()

    watch = Stopwatch()
    trainer.add_callback(watch)
    with measured() as reading:
        trainer.train()
        ended = time.perf_counter()
    reading.seconds = (ended - watch.begun) / (steps - warm)
    return reading


def train(contestant: str, options: argparse.Namespace) -> Reading:
    with tempfile.TemporaryDirectory() as output:
        trainer = trainer_of(contestant, options, Path(output))
        reading = time_steps(trainer, options.steps, WARM)
        found = {"step": reading.seconds, **batches(trainer, options.steps)}
    with (options.folder / f"{contestant}.jsonl").open("a") as handle:
        handle.write(json.dumps(found) + "\n")
    return reading


def batches(trainer: Any, count: int) -> dict[str, float]:
    """Seconds for making a batch and its padded tokens: means over `count`, without the first."""
    taken, tokens = [], []
    loader = iter(trainer.get_train_dataloader())
    for _ in range(count):
        start = time.perf_counter()
        batch = next(loader)
        taken.append(time.perf_counter() - start)
        tokens.append(sum(v.numel() for k, v in batch.items() if k.endswith("attention_mask")))
    return {"batch": float(np.mean(taken[1:])), "tokens": float(np.mean(tokens[1:]))}


def parts(folder: Path) -> dict[str, dict[str, float]]:
    """The median of each contestant's rounds, and what dynamic batches cost more."""
    found: dict[str, dict[str, float]] = {}
    for name in ("static", *DRAWS):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        found[name] = {key: float(np.median([line[key] for line in lines])) for key in lines[0]}
    static = found["static"]
    for name in DRAWS:
        found[name]["overhead"] = (found[name]["batch"] - static["batch"]) / static["step"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench-dynamic"))
    parser.add_argument("--contestant")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--negatives", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.contestant:
        report(train(options.contestant, options))
        return
    names = ("steps", "batch", "negatives", "max_length", "workers")
    extra = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in names]
    script = Path(__file__)
    for name in ("static", *DRAWS):
        (options.folder / f"{name}.jsonl").unlink(missing_ok=True)
    found = rounds(
        options.rounds,
        lambda name: in_process(script, name, options.folder, *extra),
        ["static", *DRAWS],
    )
    rows = [row(f"seconds a step, {draw}", found[draw], found["static"]) for draw in DRAWS]
    sizes = ", ".join(f"{name} {getattr(options, name)}" for name in names)
    shares = parts(options.folder)
    publish("dynamic", rows, f"{sizes}; pool {POOL}; peer: static columns", {"parts": shares})
    for name, values in shares.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))


if __name__ == "__main__":
    main()

"""The partial refresh: how much of a full one each rung of the ladder finds, and what it costs.

    python benchmarks/partial.py [--max-length 64] [--blend 0.35] [--state FOLDER]

MiniLM is trained for one epoch on mined negatives of the embedded dataset. Measured are the four
distances from quarter to quarter, and `blend` of the way to the first, interpolated. Overlap is
with the best 100 of a full refresh in float32, over all training queries. Nothing is timed: the
cost is the share of tokens that is encoded. Models and vectors are kept in `--state`, so a killed
run goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware

DEPTH = 100
Ladder = tuple[dict[str, Any], ...]
# what bfloat16 buys where it costs a third of float32
HALF: Ladder = tuple({"kind": "choose", "share": share} for share in (0.2, 0.4, 0.5, 0.6))
LADDER: Ladder = (
    {"kind": "queries"},
    *({"kind": "map", "landmarks": 0, "share": share} for share in (0.1, 0.2, 0.3)),
    {"kind": "map", "share": 0.2},
    {"kind": "choose", "landmarks": 0, "share": 0.2},
    *({"kind": "choose", "share": share} for share in (0.1, 0.2, 0.3, 0.4)),
)


def run_config(options: argparse.Namespace) -> Any:
    from pyrite import MineConfig
    from pyrite.core.config import parse_config

    return parse_config(
        MineConfig,
        {
            "name": "partial",
            "runs_dir": str(options.state),
            "cache_dir": str(options.state / "cache"),
            "threads": options.threads,
            "dataset": {"path": "stdlib"},
            "encoder": {"model": "minilm", "max_length": options.max_length},
            "retrieve": {"depth": DEPTH},
            "sampler": {"name": "simans", "n": 1},
        },
    )


def quarterly(steps: int, folder: Path) -> Any:
    """A callback that saves the model after each quarter of the steps."""
    from transformers import TrainerCallback

    class Quarter(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            done = [n for n in range(1, 5) if state.global_step == round(steps * n / 4)]
            for number in done:
                kwargs["model"].save(str(folder / str(number)), create_model_card=False)

    return Quarter()


def trained(config: Any, prepared: Any, encoder: Any, folder: Path, rate: float) -> list[Path]:
    """MiniLM after each quarter of an epoch, as the folders 1 to 4 in `folder`."""
    import torch
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import (
        SentenceTransformerTrainingArguments,
    )

    from pyrite.core.dataset import text_hashes
    from pyrite.core.sbert import load_model
    from pyrite.core.store import publish
    from pyrite.miner.mine import mine
    from pyrite.miner.negatives_file import FILE, NegativeRows, read_scored
    from pyrite.trainers.fit import set_dropout
    from pyrite.trainers.loss import ContrastiveLoss
    from pyrite.trainers.masks import Known
    from pyrite.trainers.training_set import as_dataset, training_set

    quarters = [folder / str(number) for number in range(1, 5)]
    if folder.is_dir():
        return quarters
    dataset = prepared.dataset
    scored = read_scored(mine(config, encoder).folder / FILE, dataset.queries, dataset.corpus, 1)
    hashes = np.asarray(text_hashes(dataset.corpus, config.cache))
    negatives = NegativeRows(scored.query_rows, scored.ids, scored.positive_rows)
    pairs = training_set(prepared.qrels, negatives, hashes, 1)
    steps = len(pairs.queries) // 32
    staging = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    model = load_model(config.encoder)
    set_dropout(model, 0.0)

    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder.parent / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=32,
            learning_rate=rate,
            warmup_steps=steps // 10,
            seed=0,
            dataloader_drop_last=True,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=as_dataset(pairs, dataset),
        loss=ContrastiveLoss(model, known=Known(torch.from_numpy(pairs.known), pairs.span)),
        callbacks=[quarterly(steps, staging)],
    )
    trainer.train()
    publish(staging, folder)
    return quarters


def encoder_at(config: Any, folder: Path, blend: float = 1.0) -> Any:
    """The encoder `blend` of the way from MiniLM to the weights in `folder`."""
    from pyrite.core.sbert import SentenceTransformerEncoder, load_model
    from pyrite.trainers.interpolate import copy_weights, interpolate

    there = config.encoder.model_copy(update={"model": str(folder)})
    model = load_model(there)
    if blend < 1.0:
        interpolate(model, copy_weights(load_model(config.encoder)), 1.0 - blend)
    return SentenceTransformerEncoder(there, model)


def best(queries: Any, documents: Any) -> Any:
    """The best `DEPTH` of each query, as sets of rows."""
    from pyrite.core.embeddings import Embeddings
    from pyrite.indexes.config import IndexConfig
    from pyrite.indexes.dense import open_exact

    corpus = Embeddings.from_array(documents)
    return open_exact(IndexConfig(), corpus, np.arange(len(documents))).search(queries, DEPTH)[0]


def overlap(found: Any, true: Any) -> float:
    """Mean share of the true best that was found."""
    pairs = zip(found, true, strict=True)
    return float(np.mean([np.isin(a, b).mean() for a, b in pairs]))


@dataclass(frozen=True)
class Vectors:
    """All documents and the training queries by one model."""

    documents: Any
    queries: Any


def encoded(config: Any, prepared: Any, encoder: Any) -> Vectors:
    """What an encoder makes of everything."""
    from pyrite.core.embeddings import embed

    corpus, asked = prepared.dataset.corpus, prepared.dataset.queries
    chosen = prepared.queries.rows
    arguments = (config.cache, config.encoder.token_budget)
    documents = embed(encoder, corpus, "document", *arguments).take(np.arange(len(corpus)))
    queries = embed(encoder, asked, "query", *arguments, chosen).take(np.arange(chosen.size))
    return Vectors(documents, queries)


def both(config: Any, prepared: Any, build: Callable[[Any], Any]) -> tuple[Vectors, Vectors]:
    """By the encoder that `build` makes of a configuration, in float32 and in bfloat16."""
    half = config.encoder.model_copy(update={"dtype": "bfloat16"})
    configs = (config, config.model_copy(update={"encoder": half}))
    first, second = (encoded(each, prepared, build(each)) for each in configs)
    return first, second


def rung(
    wanted: dict[str, Any], old: Vectors, new: Vectors, true: Any, lengths: Any, seeds: int
) -> dict[str, Any]:
    """A partial refresh from `old` to `new`: mean share of tokens, overlap, and its estimate."""
    from pyrite.core.embeddings import Embeddings
    from pyrite.miner.partial import cheap_vectors
    from pyrite.miner.partial_config import PartialSection

    config = PartialSection.model_validate(wanted)
    found, told, tokens = [], [], []
    rows = np.arange(len(old.documents))
    for seed in range(seeds):
        asked: list[int] = []

        def encode(chosen: Any, asked: list[int] = asked) -> Any:
            asked += chosen.tolist()
            return new.documents[chosen]

        stale = Embeddings.from_array(old.documents)
        ours, report = cheap_vectors(stale, encode, new.queries, rows, config, seed)
        found.append(overlap(best(new.queries, ours), true))
        told.append(report.overlap)
        tokens.append(float(lengths[asked].sum() / lengths.sum()))
    means = {"tokens": tokens, "overlap": found, "estimated": told}
    return {key: round(float(np.mean(value)), 4) for key, value in means.items()}


def distance(
    old: tuple[Vectors, Vectors], new: tuple[Vectors, Vectors], lengths: Any, seeds: int
) -> dict[str, Any]:
    """Both ladders between two models, with what costs nothing and what costs everything."""
    true = best(new[0].queries, new[0].documents)
    ends = (
        ("all stale", 0.0, best(old[0].queries, old[0].documents)),
        ("all, bfloat16", 1.0, best(new[1].queries, new[1].documents)),
    )
    rows = [
        {"name": name, "tokens": cost, "overlap": round(overlap(found, true), 4)}
        for name, cost, found in ends
    ]
    for at, dtype, ladder in ((0, "float32", LADDER), (1, "bfloat16", HALF)):
        for wanted in ladder:
            measured = rung(wanted, old[at], new[at], true, lengths, seeds)
            rows.append({**wanted, "dtype": dtype, **measured})
            print(rows[-1], flush=True)
    cosine = float((old[0].documents * new[0].documents).sum(axis=1).mean())
    return {"cosine": round(cosine, 4), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("runs/bench-partial"))
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--blend", type=float, default=0.35)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()

    from pyrite.core.run import build_encoder, prepare_mining

    config = run_config(options)
    encoder = build_encoder(config)
    prepared = prepare_mining(config, encoder)
    corpus = prepared.dataset.corpus
    lengths = encoder.lengths(corpus.texts(np.arange(len(corpus))), "document")
    folder = options.state / f"epoch-{options.max_length}-{options.rate}"
    quarters = trained(config, prepared, encoder, folder, options.rate)
    base = both(config, prepared, build_encoder)
    near = both(config, prepared, lambda c: encoder_at(c, quarters[0], options.blend))
    results = {f"{options.blend} of quarter 1": distance(base, near, lengths, options.seeds)}
    old = base
    for number, quarter in enumerate(quarters, start=1):
        new = both(config, prepared, partial(encoder_at, folder=quarter))
        results[f"quarter {number}"] = distance(old, new, lengths, options.seeds)
        old = new
    RESULTS.mkdir(exist_ok=True)
    result = {
        "name": "partial",
        "model": "all-MiniLM-L6-v2",
        "max_length": options.max_length,
        "rate": options.rate,
        "documents": len(corpus),
        "queries": int(prepared.queries.rows.size),
        "seeds": options.seeds,
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "distances": results,
    }
    (RESULTS / "partial.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

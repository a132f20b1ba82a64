"""The partial refresh: how much of a full one each rung of the ladder finds, and what it costs.

    python benchmarks/partial.py [--max-length 64] [--blend 0.35] [--state FOLDER]

MiniLM is trained for a quarter of an epoch on mined negatives of the embedded dataset. Two
distances are measured: those weights, and `blend` of the way there, interpolated. Overlap is with
the best 100 of a full refresh, over all training queries. Nothing is timed: the cost is the share
of tokens that is encoded. Models and vectors are kept in `--state`, so a killed run goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware

DEPTH = 100
LADDER: tuple[dict[str, Any], ...] = (
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


def trained(config: Any, prepared: Any, encoder: Any, folder: Path) -> Path:
    """MiniLM after a quarter of an epoch, saved once to `folder`; the schedule is the epoch's."""
    import torch
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import (
        SentenceTransformerTrainingArguments,
    )
    from transformers import TrainerCallback

    from pyrite.core.dataset import text_hashes
    from pyrite.core.sbert import load_model
    from pyrite.core.store import publish
    from pyrite.miner.mine import mine
    from pyrite.miner.negatives_file import FILE, NegativeRows, read_scored
    from pyrite.trainers.fit import set_dropout
    from pyrite.trainers.loss import ContrastiveLoss
    from pyrite.trainers.masks import Known
    from pyrite.trainers.training_set import as_dataset, training_set

    if folder.is_dir():
        return folder
    dataset = prepared.dataset
    scored = read_scored(mine(config, encoder).folder / FILE, dataset.queries, dataset.corpus, 1)
    hashes = np.asarray(text_hashes(dataset.corpus, config.cache))
    negatives = NegativeRows(scored.query_rows, scored.ids, scored.positive_rows)
    pairs = training_set(prepared.qrels, negatives, hashes, 1)
    steps = len(pairs.queries) // 32

    class Quarter(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step >= round(steps / 4)

    model = load_model(config.encoder)
    set_dropout(model, 0.0)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder.parent / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=32,
            learning_rate=5e-5,
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
        callbacks=[Quarter()],
    )
    trainer.train()
    staging = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    model.save(str(staging), create_model_card=False)
    publish(staging, folder)
    return folder


def encoder_at(config: Any, folder: Path, blend: float) -> Any:
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


def measure(base: Any, fresh: Any, lengths: Any, seeds: int) -> dict[str, Any]:
    """The ladder between two models; `base` and `fresh` are (documents, queries)."""
    from pyrite.core.embeddings import Embeddings
    from pyrite.miner.partial import cheap_vectors
    from pyrite.miner.partial_config import PartialSection

    (stale, stale_queries), (documents, queries) = base, fresh
    true = best(queries, documents)
    rows = [
        {"name": "all stale", "tokens": 0.0, "overlap": overlap(best(stale_queries, stale), true)}
    ]
    for rung in LADDER:
        config = PartialSection.model_validate(rung)
        found, told, tokens = [], [], []
        for seed in range(seeds):
            encoded: list[int] = []

            def encode(chosen: Any, encoded: list[int] = encoded) -> Any:
                encoded += chosen.tolist()
                return documents[chosen]

            ours, report = cheap_vectors(
                Embeddings.from_array(stale), encode, queries, np.arange(len(stale)), config, seed
            )
            found.append(overlap(best(queries, ours), true))
            told.append(report.overlap)
            tokens.append(float(lengths[encoded].sum() / lengths.sum()))
        name = ", ".join(f"{key} {value}" for key, value in rung.items())
        means = {"tokens": tokens, "overlap": found, "estimated": told}
        rows.append({"name": name} | {k: round(float(np.mean(v)), 4) for k, v in means.items()})
        print(rows[-1], flush=True)
    return {"cosine": round(float((stale * documents).sum(axis=1).mean()), 4), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("runs/bench-partial"))
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--blend", type=float, default=0.35)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()

    from pyrite.core.embeddings import embed
    from pyrite.core.run import build_encoder, prepare_mining

    config = run_config(options)
    encoder = build_encoder(config)
    prepared = prepare_mining(config, encoder)
    corpus, asked = prepared.dataset.corpus, prepared.dataset.queries
    everything = np.arange(len(corpus))
    lengths = encoder.lengths(corpus.texts(everything), "document")
    chosen = prepared.queries.rows
    base = (
        prepared.corpus.take(everything),
        prepared.queries.embeddings.take(np.arange(chosen.size)),
    )
    folder = trained(config, prepared, encoder, options.state / f"quarter-{options.max_length}")
    results = {}
    for blend in (options.blend, 1.0):
        there = encoder_at(config, folder, blend)
        arguments = (config.cache, config.encoder.batch_tokens)
        documents = embed(there, corpus, "document", *arguments).take(everything)
        queries = embed(there, asked, "query", *arguments, chosen).take(np.arange(chosen.size))
        results[str(blend)] = measure(base, (documents, queries), lengths, options.seeds)
    RESULTS.mkdir(exist_ok=True)
    result = {
        "name": "partial",
        "model": "all-MiniLM-L6-v2",
        "max_length": options.max_length,
        "documents": len(corpus),
        "queries": int(chosen.size),
        "seeds": options.seeds,
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "distances": results,
    }
    (RESULTS / "partial.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Which recipe to start from: in-batch, sentence-transformers' miner and ours, at equal steps.

    python benchmarks/recipes.py [--seeds 3] [--steps 64] [--beir FOLDER] [--recipes simans,window]

Every system trains the same pairs in the same order by the same trainer, and is measured on the
held-out split of the embedded dataset; with `--beir` also on a set that it was not tuned on. On two
cores a step of 32 pairs takes seconds: each finished run prints what its parts took and how long is
left. A finished (system, seed) is kept in the state folder, and a killed run goes on. The key of a
kept row holds all settings and no code: after a change of the code delete the state folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware
from recipe_list import BASE, IN_BATCH, RECIPES, ST_MINED, WITHOUT_NEGATIVES, merged
from recipe_table import MEASURE, Row, markdown, summary, verdict
from st_rows import mine_by_st
from sub_corpus import sub_corpus

if TYPE_CHECKING:
    from pyrite import Mined, TrainConfig
    from pyrite.core.beir import Dataset
    from pyrite.core.encoder import Encoder

STATE = Path(__file__).resolve().parent / ".state" / "recipes"
INSIDE = "stdlib"
SMOKE = {
    "steps": 2,
    "seeds": 1,
    "batch": 8,
    "documents": 200,
    "max_length": 16,
    "depth": 70,
    "beir_length": 16,
    "beir_depth": 2,
    "beir_queries": 10,
}
# where a run is and how fast; what comes out is the same
NOT_IN_KEY = {"name", "runs_dir", "cache_dir", "threads", "dataset"}


def config_of(options: argparse.Namespace, inside: Path, system: str, seed: int) -> TrainConfig:
    from pyrite import TrainConfig
    from pyrite.core.config import parse_config

    common = {
        "name": f"{system}-{seed}",
        "runs_dir": str(options.state / "runs"),
        "cache_dir": str(options.state / "cache"),
        "seed": seed,
        "threads": options.threads,
        "dataset": {"path": str(inside)},
        "encoder": {
            "model": options.model,
            "max_length": options.max_length,
            "device": options.device,
        },
        "retrieve": {"depth": options.depth},
        "sampler": {"n": options.negatives},
        "eval": {"measures": [MEASURE]},
        "train": {
            "steps": options.steps,
            "batch_size": options.batch,
            "negatives": options.negatives,
            "learning_rate": options.learning_rate,
            "dropout": 0.0,
            "bf16": options.bf16,
        },
    }
    return parse_config(TrainConfig, merged(common, RECIPES.get(system, {})), system)


def open_inside(options: argparse.Namespace) -> Dataset:
    """The embedded dataset; its folder is opened in place of `stdlib`, which reads Python anew."""
    from pyrite.core.dataset import DatasetConfig, open_dataset

    config = DatasetConfig(max_documents=options.documents or None)
    return open_dataset(config, options.state / "cache")


def tests_of(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each test set changes in a configuration."""
    tests: dict[str, dict[str, Any]] = {INSIDE: {}}
    if options.beir is None:
        return tests
    folder = options.beir
    if options.beir_depth:
        counts = (options.beir_depth, options.beir_queries)
        folder = sub_corpus(options.beir, options.state, *counts, options.state / "cache")
    tests[options.beir.name] = {
        "dataset": {"path": str(folder), "on_empty": "drop"},
        "encoder": {"max_length": options.beir_length},
    }
    return tests


def measure(config: TrainConfig, model: str, changes: dict[str, Any]) -> tuple[list[float], str]:
    """Each query's nDCG@10 of one model on one test set, and a digest of the query ids."""
    from pyrite import EvalConfig
    from pyrite.core.digest import digest_json
    from pyrite.core.run import build_encoder, open_queries
    from pyrite.eval.in_memory import evaluate_in_memory

    kept = config.model_dump(mode="json", include={"threads", "cache_dir", "dataset", "encoder"})
    if "dataset" in changes:
        del kept["dataset"]
    precision = {"encoder": {"dtype": "bfloat16"}} if config.train.bf16 else {}
    test = EvalConfig.model_validate(
        merged(kept, changes, precision, {"encoder": {"model": model}})
    )
    opened = open_queries(test, test.dataset.eval_split)
    encoder, tokens = build_encoder(test), test.encoder.token_budget
    found = evaluate_in_memory(encoder, *opened, (MEASURE,), tokens)
    return found.values[MEASURE].tolist(), digest_json(found.query_ids)


@contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[part] = round(time.perf_counter() - start, 1)


def mined_per_query(mined: Mined) -> float:
    """Negatives of a query on average: missing ones are masked in training."""
    import pyarrow.parquet as pq

    from pyrite.miner.negatives_file import FILE

    lists = pq.read_table(mined.folder / FILE, columns=["negative_ids"]).column(0)
    return round(float(np.mean(lists.combine_chunks().value_lengths())), 2)


def run(
    config: TrainConfig, system: str, tests: dict[str, dict[str, Any]], key: str, encoder: Encoder
) -> Row:
    """Mine with the untrained `encoder`, train and measure one system with one seed."""
    from pyrite import mine
    from pyrite.trainers.train import MINED, train_system

    seconds: dict[str, float] = {}
    model, per_query = config.encoder.model, 0.0
    if system != BASE:
        with timed(seconds, "mine"):
            mined = (mine_by_st if system == ST_MINED else mine)(config, encoder)
        kind = IN_BATCH if system in WITHOUT_NEGATIVES else MINED
        with timed(seconds, "train"):
            folder = train_system(config, kind, mined, encoder.fingerprint)
        model = str(folder / "model")
        per_query = 0.0 if kind == IN_BATCH else mined_per_query(mined)
    values, queries = {}, {}
    for test, changes in tests.items():
        with timed(seconds, f"test {test}"):
            values[test], queries[test] = measure(config, model, changes)
    return Row(key, system, config.seed, per_query, seconds, values, queries)


def key_of(config: TrainConfig, dataset: str, tests: Any, options: argparse.Namespace) -> str:
    """Digest of what decides a row: settings, and the texts of the `dataset` with this digest."""
    from pyrite.core.digest import digest_file, digest_json

    outside = [tests.get(options.beir.name), options.beir_length] if options.beir else None
    files = []
    if outside and not options.beir_depth:
        names = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
        files = [digest_file(options.beir / name) for name in names]
    settings = config.model_dump(mode="json", exclude=NOT_IN_KEY)
    return digest_json([1, settings, dataset, outside, files])


def kept_row(path: Path, key: str) -> Row | None:
    """A row that an earlier run finished with the same settings."""
    if not path.is_file():
        return None
    row = Row(**json.loads(path.read_text(encoding="utf-8")))
    return row if row.key == key else None


def run_all(options: argparse.Namespace) -> list[Row]:
    from pyrite.core.run import build_encoder
    from pyrite.core.store import write_json

    tests, inside = tests_of(options), open_inside(options)
    names = dict.fromkeys([IN_BATCH, *options.recipes])
    todo = [(BASE, 0), *((name, seed) for seed in range(options.seeds) for name in names)]
    rows: list[Row] = []
    encoder: Encoder | None = None
    for at, (system, seed) in enumerate(todo, start=1):
        config = config_of(options, inside.folder, system, seed)
        path = options.state / f"{system}-{seed}.json"
        key = key_of(config, inside.digest(), tests, options)
        row = kept_row(path, key)
        if row is None:
            encoder = encoder or build_encoder(config)
            row = run(config, system, tests, key, encoder)
            write_json(path, dataclasses.asdict(row))
        # a model of 90 MB for each row is not worth its place
        shutil.rmtree(config.run_folder, ignore_errors=True)
        rows.append(row)
        parts = ", ".join(f"{part} {spent:.0f} s" for part, spent in row.seconds.items())
        scores = ", ".join(f"{test} {np.mean(v):.4f}" for test, v in row.values.items())
        trained = [sum(r.seconds.values()) for r in rows if r.system != BASE]
        left = f"about {np.mean(trained) * (len(todo) - at) / 60:.0f} min left" if trained else ""
        print(f"[{at}/{len(todo)}] {system} seed {seed}: {parts}; {scores}; {left}", flush=True)
    # one system's seeds side by side
    order = [BASE, *names]
    return sorted(rows, key=lambda r: (order.index(r.system), r.seed))


def publish(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Print the tables and write the results; a smoke run's go to the state folder."""
    from pyrite.core.store import write_json

    sets = {test: summary(rows, test) for test in rows[0].values}
    inside = sizes_of(options)
    print(f"\n{markdown(sets[INSIDE], f'{INSIDE}, held-out modules: {inside}')}\n")
    outside = None
    if options.beir is not None:
        outside = sets[options.beir.name]
        print(f"{markdown(outside, f'{options.beir.name}, not tuned on: {corpus_of(options)}')}\n")
    print(verdict(sets[INSIDE], outside))
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    for place in ("state", "beir", "threads"):
        settings.pop(place)
    result = {
        "name": "recipes",
        "sizes": inside,
        "outside": corpus_of(options) if outside else None,
        "settings": settings,
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "tables": sets,
        "runs": [
            {"system": r.system, "seed": r.seed, "mined": r.mined, "seconds": r.seconds}
            for r in rows
        ],
        "recipes": {name: RECIPES[name] for name in sets_of(rows)},
    }
    write_json((options.state if options.smoke else RESULTS) / "recipes.json", result)


def sets_of(rows: Sequence[Row]) -> list[str]:
    """The trained systems, each once."""
    return list(dict.fromkeys(row.system for row in rows if row.system != BASE))


def sizes_of(options: argparse.Namespace) -> str:
    return (
        f"{options.steps} steps of {options.batch} pairs, {options.negatives} negatives,"
        f" {options.seeds} seeds, rate {options.learning_rate:g},"
        f" {options.documents or 'all'} documents of {options.max_length} tokens"
        f"{', bfloat16' * options.bf16}"
    )


def corpus_of(options: argparse.Namespace) -> str:
    if options.beir is None:
        return ""
    part = (
        f"judged documents and BM25's best {options.beir_depth} of each query"
        if options.beir_depth
        else "the whole corpus"
    )
    asked = f"the first {options.beir_queries}" if options.beir_queries else "all"
    return f"{part}, {asked} test queries, {options.beir_length} tokens"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--negatives", type=int, default=2, help="mined, for each pair")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--documents", type=int, default=3000, help="0: all")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="train and measure in bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--beir", type=Path, help="a set to measure on without tuning")
    parser.add_argument("--beir-length", type=int, default=128)
    parser.add_argument("--beir-depth", type=int, default=50, help="0: the whole corpus")
    parser.add_argument("--beir-queries", type=int, default=0, help="0: all")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="; ".join(RECIPES))
    parser.add_argument("--state", type=Path, help="folder of finished rows")
    parser.add_argument("--smoke", action="store_true", help="two steps on very little")
    options = parser.parse_args()
    options.recipes = options.recipes.split(",")
    unknown = [name for name in options.recipes if name not in RECIPES]
    if unknown:
        parser.error(f"--recipes {unknown[0]}: no such recipe; known: {', '.join(RECIPES)}")
    if options.beir_queries and not options.beir_depth:
        parser.error("--beir-queries needs a sub-corpus; set --beir-depth")
    if options.smoke:
        vars(options).update(SMOKE)
    return options


def main() -> None:
    options = parsed()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    # threads that spin while they wait are the slower the more else runs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        options.state = options.state or (Path(scratch) if options.smoke else STATE)
        publish(options, run_all(options))


if __name__ == "__main__":
    main()

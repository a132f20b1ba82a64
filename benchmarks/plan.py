"""What `pyrite plan` says before, and what the same stages take: three sizes of the embedded data.

    python benchmarks/plan.py [--sizes 500 1500 4000] [--max-length 32] [--steps 8] [--smoke]

This machine is measured once. Then each size is planned and run, both in processes of their own and
with a fresh cache: mining, two trainings of a few steps, three evaluations, stage by stage. An
error is (planned - measured) / measured; stages under `--least` seconds in both are not judged.
`--cpu` takes seconds of the processor with one thread, for a machine that others use too.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware
from rich.console import Console
from rich.table import Table

ALLOWED = 0.3


def run_config(options: argparse.Namespace, folder: Path, documents: int) -> Any:
    from pyrite.core.config import parse_config
    from pyrite.trainers.run_config import TrainConfig

    return parse_config(
        TrainConfig,
        {
            "name": f"plan-{documents}",
            "runs_dir": str(folder / "runs"),
            "cache_dir": str(folder / "cache"),
            "threads": 1 if options.cpu else options.threads,
            "dataset": {"path": "stdlib", "max_documents": documents},
            "encoder": {"model": "minilm", "max_length": options.max_length},
            "retrieve": {"depth": 100},
            "sampler": {"name": "simans", "n": 2},
            "train": {
                "steps": options.steps,
                "batch_size": options.batch,
                "save_every": options.steps,
            },
        },
    )


def planned(options: argparse.Namespace, documents: int) -> dict[str, Any]:
    """What the plan says, after this machine was measured or from what was kept."""
    from pyrite.trainers.plan.plan import PlanOptions, plan
    from pyrite.trainers.plan.stopwatch import Stopwatch

    if options.cpu:
        Stopwatch.clock = staticmethod(time.process_time)
    config = run_config(options, options.state / "planned", documents)
    found = plan(config, PlanOptions(measure=options.measure))
    mining = [one for one in found.stages if one.verb == "mine"]
    return {
        "documents": found.sizes.documents,
        "queries": found.sizes.queries,
        "seconds": {one.name: one.seconds for one in found.stages},
        "bytes": sum(one.disk for one in mining),
        "rates": found.rates.as_json(),
    }


def measured(options: argparse.Namespace, documents: int) -> dict[str, Any]:
    """The stages themselves, in the order and with the functions of the verbs."""
    import sentence_transformers  # noqa: F401

    from pyrite.core.dataset import open_dataset
    from pyrite.core.encoders.build import embed_table
    from pyrite.core.run import Prepared, QuerySet, build_encoder, open_queries
    from pyrite.core.sbert import SentenceTransformerEncoder
    from pyrite.eval.search import evaluate_encoder
    from pyrite.eval.significance import compare_all
    from pyrite.indexes.retrieve import retrieve
    from pyrite.miner.mine import mine, search_inputs
    from pyrite.trainers.train import train_system

    folder = options.state / f"run-{documents}"
    shutil.rmtree(folder, ignore_errors=True)
    config = run_config(options, folder, documents)
    seconds: dict[str, float] = {}

    clock = time.process_time if options.cpu else time.perf_counter

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = clock()
        yield
        seconds[name] = clock() - start

    with stage("read texts"):
        open_dataset(config.dataset, config.cache)
    with stage("load the model"):
        encoder = build_encoder(config)
    dataset, qrels, rows = open_queries(config, config.dataset.train_split, more_qrels=True)
    tokens = config.encoder.token_budget
    with stage("encode documents"):
        corpus = embed_table(encoder, dataset.corpus, "document", config.cache, tokens)
    with stage("encode queries"):
        asked = embed_table(encoder, dataset.queries, "query", config.cache, tokens, rows)
    prepared = Prepared(dataset, qrels, corpus, QuerySet(rows, asked))
    with stage("search"):
        inputs = search_inputs(config, prepared, qrels)
        retrieve(inputs, config.retrieve, config.cache, config.threads)
    with stage("filter and draw"):
        mined = mine(config, prepared=prepared)
    written = [p for p in folder.rglob("*") if p.is_file() and "datasets" not in p.parts]
    size = sum(p.stat().st_size for p in written if p.suffix in (".npy", ".arrow", ".parquet"))
    values = {}
    with stage("evaluate base"):
        values["base"] = evaluate_encoder(config, encoder).values
    for system in ("in_batch", "mined"):
        with stage(f"train {system}"):
            home = train_system(config, system, mined, encoder.fingerprint)
        with stage(f"evaluate {system}"):
            model = config.encoder.model_copy(update={"model": str(home / "model")})
            found = evaluate_encoder(config, SentenceTransformerEncoder(model))
        values[system] = found.values
    with stage("compare"):
        compare_all(values, config.seed)
    shutil.rmtree(folder, ignore_errors=True)
    return {"documents": len(dataset.corpus), "seconds": seconds, "bytes": size}


def in_process(options: argparse.Namespace, what: str, documents: int, *extra: str) -> Any:
    """One contestant in a process of its own; its last line is the result."""
    command = [sys.executable, __file__, "--contestant", what, "--sizes", str(documents), *extra]
    for name in ("state", "max_length", "steps", "batch", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    command += ["--cpu"] if options.cpu else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def compared(plan: dict[str, Any], run: dict[str, Any], least: float) -> list[dict[str, Any]]:
    """A row for each stage, and one for all of them."""
    pairs = {name: (plan["seconds"][name], real) for name, real in run["seconds"].items()}
    pairs["in all"] = (sum(p for p, _ in pairs.values()), sum(r for _, r in pairs.values()))
    return [
        {
            "stage": name,
            "planned": round(said, 3),
            "measured": round(real, 3),
            "error": round(said / real - 1, 3),
            "judged": max(said, real) >= least,
        }
        for name, (said, real) in pairs.items()
    ]


def show(size: dict[str, Any]) -> None:
    title = f"{size['documents']:,} documents, {size['queries']:,} queries"
    table = Table(title=title, title_justify="left")
    table.add_column("stage")
    for name in ("planned s", "measured s", "error"):
        table.add_column(name, justify="right")
    for row in size["stages"]:
        error = f"{row['error']:+.0%}" if row["judged"] else f"({row['error']:+.0%})"
        table.add_row(row["stage"], f"{row['planned']:.2f}", f"{row['measured']:.2f}", error)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("runs/bench-plan"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1500, 4000])
    parser.add_argument("--max-length", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--least", type=float, default=1.0)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--smoke", action="store_true", help="one small size, nothing written")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--contestant", choices=["planned", "measured"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        contestant = {"planned": planned, "measured": measured}[options.contestant]
        print(json.dumps(contestant(options, options.sizes[0])))
        return
    sizes = []
    for at, documents in enumerate(options.sizes[:1] if options.smoke else options.sizes):
        plan = in_process(options, "planned", documents, *(["--measure"] if not at else []))
        run = in_process(options, "measured", documents)
        one = {
            "documents": run["documents"],
            "queries": plan["queries"],
            "stages": compared(plan, run, options.least),
            "mining_bytes": {"planned": round(plan["bytes"]), "measured": run["bytes"]},
        }
        show(one)
        sizes.append((one, plan["rates"]))
    if options.smoke:
        return
    judged = [abs(r["error"]) for one, _ in sizes for r in one["stages"] if r["judged"]]
    RESULTS.mkdir(exist_ok=True)
    result = {
        "name": "plan",
        "model": "all-MiniLM-L6-v2",
        "max_length": options.max_length,
        "steps": options.steps,
        "batch_size": options.batch,
        "judged_from_s": options.least,
        "clock": "processor time of one thread" if options.cpu else "wall",
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "largest_error": max(judged),
        "judged": len(judged),
        "within": sum(error <= ALLOWED for error in judged),
        "sizes": [one for one, _ in sizes],
        "rates": sizes[0][1],
    }
    (RESULTS / "plan.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

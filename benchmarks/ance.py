"""Static, sync and async negatives at equal steps: `configs/stdlib-ance.yaml`, three seeds.

    python benchmarks/ance.py [--seeds 3] [--set train.steps=96 ...] [--bf16]

Static negatives are the same configuration with `refresh.mode=off`. Trained systems are measured on
the held-out split; dev nDCG@10, age and churn over steps are those of the runs' refresh logs. A
finished (system, seed) is kept in the state folder, and a killed run goes on; after a change of the
code delete that folder. What `async` adopts depends on how fast its refresher is beside the
training: of the three systems it alone is not the same on another machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import RESULTS, hardware
from recipe_table import MEASURE, Row, markdown, summary
from recipes import INSIDE, run

if TYPE_CHECKING:
    from pyrite import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / "benchmarks" / ".state" / "ance"
STATIC = "static"
MODES = {STATIC: "off", "sync": "sync", "async": "async"}
COLORS = {"sync": "#2166ac", "async": "#b2182b"}
Kept = tuple[Row, list[dict[str, Any]]]


def config_of(options: argparse.Namespace, system: str, seed: int) -> TrainConfig:
    from pyrite import TrainConfig
    from pyrite.core.config import load_config

    given = [
        *options.set,
        f"name={system}-{seed}",
        f"seed={seed}",
        f"runs_dir={options.state / 'runs'}",
        f"cache_dir={options.state / 'cache'}",
        f"threads={options.threads}",
        f"refresh.mode={MODES[system]}",
        f"train.bf16={str(options.bf16).lower()}",
        f"eval.measures=[{MEASURE}]",
    ]
    if options.bf16:
        given.append("refresh.dtype=bfloat16")
    return load_config(TrainConfig, ROOT / "configs" / "stdlib-ance.yaml", given)


def run_one(config: TrainConfig, system: str, folder: Path) -> Kept:
    """Train and measure one system, or read what an earlier run has kept of it."""
    from pyrite.core.digest import digest_json
    from pyrite.core.run import build_encoder
    from pyrite.core.store import write_json
    from pyrite.trainers.refresh_home import RefreshHome
    from pyrite.trainers.refresh_log import RefreshLog

    places = {"runs_dir", "cache_dir", "threads"}
    key = digest_json([1, config.model_dump(mode="json", exclude=places)])
    path = folder / f"{config.name}.json"
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["row"]["key"] == key:
            return Row(**kept["row"]), kept["log"]
    # what a killed or another run has left would count into seconds and log
    shutil.rmtree(config.run_folder, ignore_errors=True)
    row = run(config, system, {INSIDE: {}}, key, build_encoder(config))
    log = RefreshLog(RefreshHome.of(config.run_folder).folder).rows()
    write_json(path, {"row": dataclasses.asdict(row), "log": log})
    shutil.rmtree(config.run_folder, ignore_errors=True)
    return row, log


def facts(kept: Sequence[Kept], system: str) -> dict[str, Any]:
    """What the refresh logs of one system's seeds say together."""
    rows = [row for own, log in kept if own.system == system for row in log]
    swaps = [row for row in rows if row["kind"] == "swap"]
    stalled = sum(row["seconds"] for row in rows if row["kind"] == "stall")
    trained = sum(row["seconds"] for row in rows if row["kind"] == "trained")
    return {
        "swaps": len(swaps),
        "refused": sum(row["kind"] == "refused" for row in rows),
        "mean_age_at_swap": round(sum(r["age"] for r in swaps) / max(len(swaps), 1), 1),
        "mean_churn": round(sum(r["churn"] for r in swaps) / max(len(swaps), 1), 3),
        "stalled_s": round(stalled, 2),
        "trained_s": round(trained, 1),
        "stalled_share": round(stalled / trained, 5) if trained else None,
    }


def draw(kept: Sequence[Kept], path: Path) -> None:
    """Dev nDCG@10, age and churn over steps, one line for each refreshed seed."""
    from matplotlib.figure import Figure

    from pyrite.trainers.refresh_report import age_line

    figure = Figure(figsize=(8, 6.5), dpi=120, layout="constrained")
    measures, ages, churns = figure.subplots(3, 1, sharex=True)
    for row, log in kept:
        color = COLORS.get(row.system)
        if color is None:
            continue
        name = row.system if row.seed == 0 else None
        dev = sorted((r["step"], r["ndcg"]) for r in log if r["kind"] == "dev")
        measures.plot(*zip(*dev, strict=True), color=color, marker="o", label=name)
        ages.plot(*age_line(log), color=color, alpha=0.7)
        swaps = [(r["step"], r["churn"]) for r in log if r["kind"] == "swap"]
        if swaps:
            churns.plot(*zip(*swaps, strict=True), color=color, marker="o", linestyle="")
    names = ("dev nDCG@10 of published weights", "age of the negatives (steps)", "churn at a swap")
    for axes, title in zip((measures, ages, churns), names, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    measures.legend(frameon=False)
    ages.set_ylim(bottom=0)
    churns.set_ylim(bottom=0)
    churns.set_xlabel("step")
    figure.savefig(path, metadata={"Software": None})


def publish(options: argparse.Namespace, kept: Sequence[Kept], config: TrainConfig) -> None:
    rows = sorted((row for row, _ in kept), key=lambda r: (list(MODES).index(r.system), r.seed))
    table = summary(rows, INSIDE, (STATIC,))
    train = config.train
    sizes = (
        f"{train.steps} steps of {train.batch_size} pairs, {train.negatives} negatives of"
        f" {config.sampler.total}, rate {train.learning_rate:g}, refreshed every"
        f" {config.refresh.every_steps} steps, {options.seeds} seeds,"
        f" {config.dataset.max_documents} documents of {config.encoder.max_length} tokens"
        f"{', bfloat16' * options.bf16}"
    )
    print(f"\n{markdown(table, sizes, (STATIC,))}\n")
    refreshed = {system: facts(kept, system) for system in MODES if system != STATIC}
    for system, found in refreshed.items():
        print(f"{system}: {', '.join(f'{name} {value}' for name, value in found.items())}")
    result = {
        "name": "ance",
        "sizes": sizes,
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "table": table,
        "refresh": refreshed,
        "runs": [{"system": r.system, "seed": r.seed, "seconds": r.seconds} for r in rows],
        "logs": {f"{row.system}-{row.seed}": log for row, log in kept if log},
    }
    place = options.state if options.set else RESULTS
    (place / "ance.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(kept, place / "ance.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--set", action="append", default=[], help="override; then nothing in results/ changes"
    )
    parser.add_argument("--bf16", action="store_true", help="train and refresh in bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--state", type=Path, default=STATE)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(options.threads)
    options.state.mkdir(parents=True, exist_ok=True)
    kept: list[Kept] = []
    for seed in range(options.seeds):
        for system in MODES:
            config = config_of(options, system, seed)
            kept.append(run_one(config, system, options.state))
            row = kept[-1][0]
            parts = ", ".join(f"{part} {spent:.0f} s" for part, spent in row.seconds.items())
            mean = sum(row.values[INSIDE]) / len(row.values[INSIDE])
            print(f"{system} seed {seed}: {parts}; nDCG@10 {mean:.4f}", flush=True)
    publish(options, kept, config)


if __name__ == "__main__":
    main()

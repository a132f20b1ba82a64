"""A small run whose texts are hostile, with everything that a report can show of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fakes import BagOfWords, write_dataset

from pyrite.core.config import parse_config
from pyrite.core.store import Manifest, write_json
from pyrite.miner.mine import mine
from pyrite.miner.relabel.case import Case, Verdict
from pyrite.miner.relabel.config import RelabelConfig
from pyrite.miner.relabel.judges.scripted import ScriptedJudge
from pyrite.miner.relabel.relabel import relabel
from pyrite.trainers.refresh_log import RefreshLog
from pyrite.trainers.run_config import TrainConfig

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 2'>",
    "{{ 7 * 7 }} {% raw %} {# gone #}",
    "nul \x00 and bell \x07 and escape \x1b[31m",
    "turned \u202e round, hidden \u200b here, \ufeff there",
    "</details></section></body> <style>* { display: none }</style>",
    "&lt;b&gt; &amp; \"quoted\" 'single' `ticks` --> <!-- ]]>",
    "שלום עולם מימין לשמאל",
)
LONG = ("w1 w2 " * 2000).strip()


def write_hostile(folder: Path, documents: int = 60, queries: int = 24) -> Path:
    """Topics of made-up words, with a hostile mark in every text and id."""
    generator = np.random.default_rng(5)

    def text(topic: int, at: int) -> str:
        words = " ".join(f"w{topic * 5 + int(n)}" for n in generator.integers(0, 8, 6))
        return f"{words} {HOSTILE[at % len(HOSTILE)]}"

    corpus = {f"d<i>{i:03d}</i>": text(i % 6, i) for i in range(documents)}
    names = list(corpus)
    corpus[names[7]] = corpus[names[1]]
    corpus[names[8]] = LONG
    asked = {f"q\"'><b>{i:03d}": text(i % 6, i + 1) for i in range(queries)}
    asked[next(iter(asked))] = corpus[names[3]]
    pairs = [
        (query, names[(i + 6 * j) % documents], 1)
        for i, query in enumerate(asked)
        for j in range(1 + i % 3)
    ]
    return write_dataset(folder, corpus, asked, {"train": pairs, "test": pairs[:6]})


def config_of(folder: Path, **changes: Any) -> TrainConfig:
    """A configuration whose filters reject for several reasons."""
    return parse_config(
        TrainConfig,
        {
            "name": "hostile",
            "runs_dir": str(folder / "runs"),
            "cache_dir": str(folder / "cache"),
            "threads": 1,
            "dataset": {"path": str(folder / "data")},
            "retrieve": {"depth": 40},
            "filters": {"percent": 0.9, "margin": 0.02, "max_score": 0.8},
            "sampler": {"name": "simans", "n": 3},
            "block_queries": 7,
            **changes,
        },
    )


def mined(folder: Path, **changes: Any) -> Path:
    """A finished mining; its run's folder."""
    if not (folder / "data").exists():
        write_hostile(folder / "data")
    config = config_of(folder, **changes)
    mine(config, BagOfWords())
    return config.run_folder


def add_results(run: Path) -> None:
    """What `pyrite train` leaves beside the models."""
    values = {"base": [0.1, 0.5, 0.9], "in_batch": [0.2, 0.5, 0.8], "mined": [0.3, 0.6, 0.9]}
    systems = {name: {"ndcg@10": sum(v) / 3, "mrr@10": sum(v) / 4} for name, v in values.items()}
    pairs = (("in_batch", "base", 0.0), ("mined", "base", 0.1), ("mined", "in_batch", -0.02))
    comparisons = [
        {
            "a": a,
            "b": b,
            "measure": m,
            "difference": d,
            "ci95": [d - 0.05, d + 0.05] if m == "ndcg@10" else None,
            "significant": d > 0.05,
        }
        for m in ("ndcg@10", "mrr@10")
        for a, b, d in pairs
    ]
    write_json(run / "results.json", {"systems": systems, "comparisons": comparisons})
    columns = {f"{n} {m}": v for n, v in values.items() for m in ("ndcg@10", "mrr@10")}
    pq.write_table(pa.table({"query_id": ["a", "b", "c"], **columns}), run / "per_query.parquet")
    Manifest.write(
        run,
        only=("results.json", "per_query.parquet"),
        schema=1,
        kind="results",
        config={"name": "hostile"},
        seed=0,
        counts={"held_out_queries": 3},
    )


HISTORY: list[dict[str, Any]] = [
    {"kind": "published", "step": 4},
    {"kind": "generation", "step": 4, "generation": 1, "seconds": 1.5},
    {"kind": "dev", "step": 4, "ndcg": 0.41},
    {"kind": "swap", "step": 6, "generation": 1, "age": 2, "churn": 0.25},
    {"kind": "generation", "step": 8, "generation": 2, "seconds": 1.25},
    {"kind": "refused", "step": 8, "generation": 2, "reasons": [HOSTILE[0]]},
    {"kind": "dev", "step": 8, "ndcg": 0.38},
    {"kind": "stall", "step": 11, "seconds": 0.5},
    {"kind": "generation", "step": 12, "generation": 3, "seconds": 1.0},
    {"kind": "dev", "step": 12, "ndcg": float("nan")},
    {"kind": "swap", "step": 13, "generation": 3, "age": 1, "churn": None},
    {"kind": "trained", "step": 16, "seconds": 20.0},
]


def add_refreshes(run: Path) -> None:
    """A log of three generations, the second refused, and the report of the first."""
    log = RefreshLog(run / "refresh")
    for row in HISTORY:
        log.append(row)
    measured = {"false_negatives": {"share": 0.125, "estimate": "proxy", "queries": 9}}
    write_json(run / "refresh" / "generations" / "000001" / "report.json", {"measured": measured})


def add_verdicts(folder: Path, run: Path) -> None:
    """A cascade of one judge that calls every fifth pair false, with hostile reasons."""

    def answer(case: Case) -> list[Verdict]:
        false = [len(doc.text) % 5 == 0 for doc in case.documents]
        said = (HOSTILE[at % len(HOSTILE)] for at in range(len(false)))
        return [
            Verdict(f, "equal" if f else "na", None, w) for f, w in zip(false, said, strict=True)
        ]

    settings = {
        "name": "hostile",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "data": {"path": str(run)},
        "stages": [{"judge": "scripted", "scripted": {"function": "relabel_cases:nothing"}}],
    }
    relabel(parse_config(RelabelConfig, settings), [ScriptedJudge(answer, "<b>judge</b>")])


def whole_run(folder: Path) -> Path:
    """A run with every part that a report knows but the evaluation."""
    run = mined(folder)
    add_results(run)
    add_refreshes(run)
    add_verdicts(folder, run)
    return run


def records(run: Path) -> list[dict[str, Any]]:
    """The rows of the run's negatives."""
    found: list[dict[str, Any]] = pq.read_table(run / "negatives" / "negatives.parquet").to_pylist()
    return found


def texts(folder: Path, name: str) -> dict[str, str]:
    """Texts of `corpus` or `queries` by id, read without Pyrite."""
    lines = (folder / "data" / f"{name}.jsonl").read_text("utf-8").split("\n")
    return {row["_id"]: row["text"] for row in map(json.loads, filter(None, lines))}

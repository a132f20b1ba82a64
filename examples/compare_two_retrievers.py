"""Compare BM25 with an embedding model on a BEIR folder, with intervals and tests.

    python examples/compare_two_retrievers.py data/scifact work --model minilm

Vectors are kept in `work`: another call with another model encodes with that one alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from pyrite import EvalConfig, compare_runs, evaluate
from pyrite.eval.compare_report import print_report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path, help="folder for vectors and runs")
    parser.add_argument("--model", default="minilm", help="folder or name of a hub")
    given = parser.parse_args()
    common: dict[str, Any] = {
        "runs_dir": str(given.work / "runs"),
        "cache_dir": str(given.work / "cache"),
        "dataset": {"path": str(given.data), "eval_split": "test"},
        "encoder": {"model": given.model, "max_length": 64},
    }
    for name, kind in (("bm25", "bm25s"), ("dense", "dense")):
        settings = {**common, "name": name, "eval": {"source": {"kind": kind}}}
        evaluate(EvalConfig.model_validate(settings))
    runs = given.work / "runs"
    compared = compare_runs([f"bm25={runs / 'bm25'}", f"dense={runs / 'dense'}"])
    print_report(compared, Console(width=116))


if __name__ == "__main__":
    main()

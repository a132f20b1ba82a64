"""Every stage beside its peer or floor, over three sizes: a table, a plot and one JSON file.

    python benchmarks/all.py [--quick] [--stages encode,search_documents] [--rounds 1]

About 25 minutes on two cores. A finished stage is kept in the state folder until all are, so a
killed run goes on; `--quick` checks in a few minutes that everything runs and writes to the state
folder alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_page import draw, markdown
from common import RESULTS, STATE, hardware
from growth import run_stage
from stages import NAMES

PEERS = (
    "torch",
    "sentence-transformers",
    "transformers",
    "faiss-cpu",
    "datasets",
    "pytrec_eval-terrier",
    "beir",
    "numpy",
    "pyarrow",
)


def kept(path: Path, options: argparse.Namespace) -> dict[str, Any] | None:
    """A stage that a killed run of the same kind has finished."""
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    same = (found["quick"], found["rounds"]) == (options.quick, options.rounds)
    return found if same else None


def run_all(options: argparse.Namespace, home: Path) -> list[dict[str, Any]]:
    """Each stage, run now or kept from before."""
    results = []
    for name in options.stages:
        path, start = home / f"{name}.json", time.perf_counter()
        found = kept(path, options)
        if found is None:
            found = run_stage(name, options.quick, options.rounds)
            scratch = path.with_suffix(".tmp")
            scratch.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            scratch.replace(path)
            print(f"{name}: done in {time.perf_counter() - start:.0f} s", flush=True)
        results.append(found)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; results/ is left alone")
    parser.add_argument("--stages", default=",".join(NAMES), help="some of them")
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many counts")
    parser.add_argument("--state", type=Path, default=STATE, help="where finished stages are kept")
    options = parser.parse_args()
    options.stages = options.stages.split(",")
    unknown = [name for name in options.stages if name not in NAMES]
    if unknown:
        parser.error(f"--stages {unknown[0]}: no such stage; known: {', '.join(NAMES)}")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # threads that spin while they wait are the slower the more else runs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    home = options.state / ("quick" if options.quick else "full")
    home.mkdir(parents=True, exist_ok=True)
    stages = run_all(options, home)
    result = {
        "name": "all",
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "versions": {name: metadata.version(name) for name in PEERS},
        "stages": stages,
    }
    whole = tuple(options.stages) == NAMES and not options.quick
    place = RESULTS if whole else options.state
    (place / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (place / "bench.md").write_text(markdown(result), encoding="utf-8")
    draw(stages, place / "bench.png")
    print(f"written: {place / 'bench.md'}")
    if whole:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()

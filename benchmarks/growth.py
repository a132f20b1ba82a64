"""One stage of `all.py`: each contestant at three sizes, in turns, each in a process of its own.

    python benchmarks/growth.py --stage encode [--quick] [--rounds 1]

Prints seconds, extra memory and how both grow; `all.py` keeps what this returns.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import Reading, hardware, in_process, report, rounds
from stage import Stage, exponent, growth, memory_growth
from stages import NAMES, stage_of


def run_stage(name: str, quick: bool, count: int) -> dict[str, Any]:
    """The readings of every contestant at every size, and the growth of each."""
    stage = stage_of(name)
    sizes = stage.quick if quick else stage.sizes
    found: dict[str, list[Reading]] = {contestant: [] for contestant in stage.contestants}
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            prepare(name, folder, size)

            def run(contestant: str, folder: Path = folder, size: int = size) -> Reading:
                extra = ("--stage", name, "--size", str(size))
                return in_process(Path(__file__), contestant, folder, *extra)

            for contestant, reading in rounds(count, run, list(stage.contestants)).items():
                found[contestant].append(reading)
                print(f"{name} {size}: {contestant} {reading.seconds:.3f} s", flush=True)
    return {
        "name": name,
        "title": stage.title,
        "counts": stage.counts,
        "fixed": stage.fixed,
        "sizes": list(sizes),
        "rounds": count,
        "quick": quick,
        "hardware": hardware(),
        "date": datetime.date.today().isoformat(),
        "contestants": [grown(stage, c, sizes, readings) for c, readings in found.items()],
    }


def prepare(name: str, folder: Path, size: int) -> None:
    """Inputs, made by another process: what it holds is not this one's to keep."""
    in_process(Path(__file__), "prepare", folder, "--stage", name, "--size", str(size))


def grown(
    stage: Stage, contestant: str, sizes: Sequence[int], readings: Sequence[Reading]
) -> dict[str, Any]:
    """One contestant's seconds and extra bytes at each size, with their exponents."""
    seconds = [reading.seconds for reading in readings]
    extra = [reading.extra_bytes for reading in readings]
    slope = exponent(sizes, seconds)
    memory_slope, memory = memory_growth(sizes, extra)
    return {
        "contestant": contestant,
        "floor": contestant in stage.floors,
        "seconds": seconds,
        "extra_bytes": extra,
        "exponent": slope,
        "growth": growth(slope),
        "memory_exponent": memory_slope,
        "memory_growth": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=NAMES, required=True)
    parser.add_argument("--quick", action="store_true", help="sizes of a smoke run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--contestant")
    parser.add_argument("--size", type=int)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.contestant == "prepare":
        stage_of(options.stage).prepare(options.folder, options.size)
        report(Reading())
        return
    if options.contestant:
        contestant = stage_of(options.stage).contestants[options.contestant]
        report(contestant(options.folder, options.size))
        return
    found = run_stage(options.stage, options.quick, options.rounds)
    width = min(60, shutil.get_terminal_size().columns)
    for one in found["contestants"]:
        slope = f"size^{one['exponent']:.2f}, {one['growth']}; memory: {one['memory_growth']}"
        print(f"{one['contestant'][:width]}: {slope}")


if __name__ == "__main__":
    main()

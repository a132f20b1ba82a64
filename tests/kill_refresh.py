"""Kills a refresh at every moment that lasts, as `killer.py` does; prints one JSON report.

Run as `python kill_refresh.py refresher|trainer FOLDER`. The refresher is killed while it makes a
generation; the trainer while it publishes weights, makes a generation, lays it out and takes it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from killer import Scenario, When, every, killed_at_all
from quick import quick
from refresh_setup import RefreshBench

from pyrite.trainers import refresher
from pyrite.trainers.run_config import TrainConfig

TRAIN = {"steps": 9, "save_every": 1}
COUNTS = ("manifest.json", "CURRENT", "000002")
SYNC = {"mode": "sync", "every_steps": 2, "keep": 0}


def refreshing() -> TrainConfig:
    """A run whose refresher has generation 1 made, and newer weights to go on with."""
    bench = RefreshBench(Path())
    return bench.config("run", {"mode": "async", "refresher": "external", "every_steps": 2})


def prepare_refresher() -> None:
    RefreshBench.build(Path())
    with quick():
        for after in (3, 5):
            RefreshBench(Path()).killed(refreshing(), after)
            if after == 3:
                work()


def work() -> None:
    with quick():
        refresher.refresh(Path("runs/run"), once=True)


def training() -> TrainConfig:
    return RefreshBench(Path()).config("run", SYNC, train=TRAIN)


def prepare_trainer() -> None:
    """Two refreshes lie behind the last checkpoint, and the third and last is due."""
    RefreshBench.build(Path())
    with quick():
        RefreshBench(Path()).killed(training(), 5)


def train() -> None:
    with quick():
        RefreshBench(Path()).train_only(training())


def no_parts(names: list[str]) -> Iterator[tuple[int, When]]:
    """After each moment, and before what makes something count: a manifest, a generation.

    Before another file nothing has changed since the moment before, but for a temporary name.
    """
    for at, when in every(names):
        if when == "after" or names[at - 1].partition(" ")[2] in COUNTS:
            yield at, when


def of_refresh(names: list[str]) -> Iterator[tuple[int, When]]:
    """After each file from the weights on until the checkpoint in which the swap stands is whole.

    Mining in between is left to the other scenario.
    """
    published = names.index("publish step-00000006") + 1
    mined = names.index("publish 000003") + 1
    taken = names.index("publish manifest.json", names.index("publish swaps.json")) + 1
    for at in (*range(1, published + 1), *range(mined, taken + 1)):
        yield at, "after"


SCENARIOS = {
    "refresher": Scenario(prepare_refresher, work, among=no_parts),
    "trainer": Scenario(prepare_trainer, train, among=of_refresh),
}

if __name__ == "__main__":
    report = killed_at_all(SCENARIOS[sys.argv[1]], Path(sys.argv[2])).report
    sys.stdout.write(json.dumps(report))

"""Kills a run at every moment that lasts, resumes it, and compares with a run left in peace.

A moment is a rename into place or a removal: between two of them a kill leaves the same names.
Run as `python killer.py SCENARIO FOLDER`; prints one JSON report. Children are forked from one
process that has imported everything, and nothing is synced to the disk (a killed process does
not lose what it wrote), so a kill costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

# imported before the fork, used inside the children
from fakes import BagOfWords, toy_dataset

from pyrite.core import run, stdlib_dataset, store
from pyrite.core.config import parse_config
from pyrite.core.embeddings import StoreLayout
from pyrite.core.store import Manifest
from pyrite.miner.mine import MineConfig, mine

# small, so that kills fall between two blocks, two parts and two shards
BLOCK, PART_ROWS = 8, 32
# the files of the largest unit of work, a block of candidates: a run that gets less far is lost
CHAIN_RENAMES = 8
# who holds a lock, and what the workers of a training look up while it runs
_OF_A_PROCESS = ("refresher.lock", "step_of_row.npy")
When = Literal["before", "after"]


def every(names: list[str]) -> Iterator[tuple[int, When]]:
    """Each moment, counted from 1: before and after a rename, and after a removal."""
    for at, name in enumerate(names, start=1):
        if name.startswith("publish"):
            yield at, "before"
        yield at, "after"


@dataclass(frozen=True)
class Scenario:
    """What lies in the folder before the run, and the run itself, in that folder."""

    prepare: Callable[[], None]
    run: Callable[[], None]
    whole_before: bool = True  # every artefact that is there before the run is intact
    among: Callable[[list[str]], Iterable[tuple[int, When]]] = every


def run_mine(seed: int = 0) -> None:
    settings: dict[str, Any] = {
        "runs_dir": "runs",
        "cache_dir": "cache",
        "seed": seed,
        "threads": 1,
        "dataset": {"path": "data"},
        "block_queries": BLOCK,
        "retrieve": {"depth": 30, "block_queries": BLOCK},
        "sampler": {"name": "simans", "n": 4, "a": 0.1},
    }
    mine(parse_config(MineConfig, settings), BagOfWords())


def write_data() -> None:
    toy_dataset(Path("data"), documents=60, queries=20)


def mined_before() -> None:
    write_data()
    run_mine(seed=1)


def damaged() -> None:
    write_data()
    run_mine()
    for pattern in ("cache/**/emb-00001.npy", "cache/**/ids.npy"):
        for path in Path().glob(pattern):
            raw = bytearray(path.read_bytes())
            raw[-1] ^= 1
            path.write_bytes(bytes(raw))


def build_dataset() -> None:
    stdlib_dataset.build(Path("stdlib"), root=Path(json.__file__).parent)


SCENARIOS = {
    "mine": Scenario(write_data, run_mine),
    "mine over another run": Scenario(mined_before, run_mine),
    "mine over damage": Scenario(damaged, run_mine, whole_before=False),
    "embedded dataset": Scenario(lambda: None, build_dataset),
}


@dataclass
class Moments:
    """Counts renames and removals; kills this process at number `at`, if there is one."""

    at: int | None = None
    when: When = "before"
    renames_only: bool = False

    def __post_init__(self) -> None:
        self.seen: list[str] = []
        self._replace, self._unlink = os.replace, os.unlink

    def __enter__(self) -> Moments:
        # the child ends with the moments, so nothing is ever put back
        mock.patch.object(os, "replace", self._on_replace).start()
        if not self.renames_only:
            mock.patch.object(os, "unlink", self._on_unlink).start()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _on_replace(self, source: Path, target: Path) -> None:
        self._pass(f"publish {Path(target).name}", lambda: self._replace(source, target))

    def _on_unlink(self, path: Path, dir_fd: int | None = None) -> None:
        # below an open folder: one of a folder that nobody reads any more
        if dir_fd is None and os.path.lexists(path):
            self._pass(f"remove {Path(path).name}", lambda: self._unlink(path))
        else:
            self._unlink(path, dir_fd=dir_fd)

    def _pass(self, name: str, act: Callable[[], None]) -> None:
        self.seen.append(name)
        here = len(self.seen) == self.at
        if here and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        act()
        if here and self.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(folder: Path, action: Callable[[], None]) -> int:
    """Exit code of `action` in a forked child that works in `folder`; -9 if it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left_over(folder: Path) -> list[str]:
    """Files that only a stage in progress reads."""
    return [path.name for path in folder.rglob("*") if _passing(path.name)]


def _passing(name: str) -> bool:
    return ".tmp-" in name or name.startswith("part-") or name in _OF_A_PROCESS


def lasting(folder: Path) -> dict[str, bytes]:
    """Bytes of every file but those that only a stage in progress reads."""
    return {
        path.relative_to(folder).as_posix(): _content(path)
        for path in folder.rglob("*")
        if path.is_file() and not any(map(_passing, path.relative_to(folder).parts))
    }


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.name == "log.jsonl":
        rows = [json.loads(line) for line in raw.splitlines()]
        return json.dumps([{**row, "seconds": None} for row in rows]).encode()
    if path.name != store.MANIFEST:
        return raw
    manifest = json.loads(raw)
    # where vectors came from is history: a kill may turn a copy into a new computation
    manifest.get("counts", {}).pop("copied", None)
    manifest.pop("seconds", None)
    return json.dumps(manifest).encode()


def half_artefacts(folder: Path) -> list[str]:
    """Folders whose manifest promises what is not there."""
    found = [path.parent for path in sorted(folder.rglob(store.MANIFEST))]
    found = [path for path in found if not any(map(_passing, path.relative_to(folder).parts))]
    manifests = ((path, Manifest.read(path)) for path in found)
    return [str(path) for path, manifest in manifests if not (manifest and manifest.intact(path))]


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if found.get(name) != expected.get(name)]


class Experiment:
    """One scenario, its run left in peace, and what went wrong in the others."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.folder = folder
        self.faults: list[str] = []
        self.left_over: set[str] = set()
        self.start = folder / "start"
        self.start.mkdir(parents=True)
        self._succeed(self.start, scenario.prepare)
        for name in ("rehearsal", "peace"):
            # where the others will run: a path may stand in what is written
            shutil.copytree(self.start, folder / "trial")
            self._succeed(folder / "trial", self._recorded)
            (folder / "trial").rename(folder / name)
            self.report: dict[str, Any] = json.loads((folder / "seen.json").read_text("utf-8"))
            # what a child imports while it runs, the next ones inherit
            for module in self.report.pop("modules"):
                with contextlib.suppress(ImportError):
                    importlib.import_module(module)
        self.expected = lasting(folder / "peace")

    def _succeed(self, folder: Path, action: Callable[[], None]) -> None:
        if in_child(folder, action) != 0:
            raise SystemExit(f"no kill, and still no result in {folder}")

    def _recorded(self) -> None:
        with Moments() as moments:
            self.scenario.run()
        seen = {"moments": moments.seen, "modules": sorted(sys.modules)}
        (self.folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")

    def killed_run(self, trial: Path, at: int, when: When, renames_only: bool = False) -> int:
        def action() -> None:
            with Moments(at, when, renames_only):
                self.scenario.run()

        return in_child(trial, action)

    def check_kill(self, at: int, when: When) -> None:
        """Kill a run at one moment, look at what it left, and let another run finish it."""
        label = f"{when} moment {at}, {self.report['moments'][at - 1]}"
        trial = self.folder / "trial"
        shutil.copytree(self.start, trial)
        code = self.killed_run(trial, at, when)
        if code != -signal.SIGKILL:
            self.faults.append(f"{label}: not killed, exit code {code}")
        if self.scenario.whole_before and half_artefacts(trial):
            self.faults.append(f"{label}: half an artefact in {half_artefacts(trial)}")
        code = in_child(trial, self.scenario.run)
        if code != 0:
            self.faults.append(f"{label}: the next run failed with exit code {code}")
        for name in differences(lasting(trial), self.expected):
            self.faults.append(f"{label}: {name} differs after the next run")
        self.left_over.update(left_over(trial))
        shutil.rmtree(trial)

    def check_chain(self, renames: int) -> int:
        """Kill every run after so many renames until one finishes; the number of runs."""
        trial = self.folder / "chain"
        shutil.copytree(self.start, trial)
        for runs in range(1, len(self.report["moments"]) + 1):
            if self.killed_run(trial, renames, "after", renames_only=True) == 0:
                for name in differences(lasting(trial), self.expected):
                    self.faults.append(f"{name} differs after {runs} runs")
                return runs
        self.faults.append(f"no end in sight with {renames} renames a run")
        return 0


def killed_at_all(scenario: Scenario, folder: Path) -> Experiment:
    """A scenario killed at each of its moments."""
    mock.patch.object(store, "versions", functools.cache(store.versions)).start()
    mock.patch.object(os, "fsync").start()
    experiment = Experiment(scenario, folder)
    names = experiment.report["moments"]
    chosen = list(scenario.among(names))
    for at, when in chosen:
        experiment.check_kill(at, when)
    experiment.report["killed"] = [names[at - 1] for at, _ in chosen]
    experiment.report["faults"] = experiment.faults
    experiment.report["left_over"] = sorted(experiment.left_over)
    return experiment


def main() -> None:
    small = functools.partial(StoreLayout, part_rows=PART_ROWS, shard_parts=1)
    mock.patch.object(run, "StoreLayout", small).start()
    experiment = killed_at_all(SCENARIOS[sys.argv[1]], Path(sys.argv[2]))
    experiment.report["runs_of_chain"] = experiment.check_chain(CHAIN_RENAMES)
    # the chain may have found more
    sys.stdout.write(json.dumps(experiment.report))


if __name__ == "__main__":
    main()

"""What goes wrong beside a training stops it only where it must, and then in one sentence."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_setup import in_subprocess
from quick import quick
from refresh_setup import (
    RefreshBench,
    generations_of,
    home_of,
    log_of,
    same,
    swaps_of,
)
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from pyrite.core.config import dump_config
from pyrite.core.store import publish
from pyrite.trainers import refresh_callback, refresh_process, refresher
from pyrite.trainers.generations import Generations
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.weights import Weights, publish_weights

EXTERNAL: dict[str, Any] = {"mode": "async", "refresher": "external"}
# files of at most so many bytes: less than the weights have, more than anything else
_LIMIT = 20_000


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> RefreshBench:
    return RefreshBench.build(tmp_path_factory.mktemp("refresh"), dropout=0.0)


def test_published_adapters_are_merged(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0

    def compare(model: SentenceTransformer, *rest: Any) -> tuple[Weights, bool]:
        nonlocal seen
        before = {name: values.clone() for name, values in model.state_dict().items()}
        found = publish_weights(model, *rest)
        published = load_file(found[0].folder / "model.safetensors")
        adapted = [name for name in before if name.endswith(".lora_A.default.weight")]
        assert len(adapted) > 0
        moved = 0
        for name in adapted:
            layer = name.removesuffix(".lora_A.default.weight")
            up, down = before[f"{layer}.lora_B.default.weight"], before[name]
            # alpha over r
            expected = before[f"{layer}.base_layer.weight"] + 12 / 4 * up @ down
            # the module's own name for its transformer is not in the file
            key = next(k for k in published if f"{layer}.weight".endswith(k))
            assert published[key].sub(expected).abs().max() < 1e-6
            moved += int((up @ down).abs().max() > 1e-6)
        # the pooler has no gradient
        assert moved == len(adapted) - 1
        assert not any("lora" in name for name in published)
        # what is trained goes on as it was
        after = model.state_dict()
        assert same(after, before)
        seen += 1
        return found

    monkeypatch.setattr(refresh_callback, "publish_weights", compare)
    lora = {"r": 4, "alpha": 12}
    config = bench.config("lora", {"mode": "sync"}, train={"lora": lora, "learning_rate": 0.05})
    bench.train_only(config)
    assert seen == 2
    assert len(swaps_of(config)) == 2


@pytest.mark.slow
def test_a_full_disk_in_a_sync_training_is_made_good(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.config("room", {"mode": "sync"})
    expected = bench.train(whole)
    config = bench.config("full", {"mode": "sync"})
    bench.mined(config)
    writes, limit = 0, 0

    def full(temporary: Path, path: Path) -> None:
        nonlocal writes
        writes += 1
        if writes == limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        publish(temporary, path)

    for module in ("core.store", "trainers.weights", "trainers.make_generation", "trainers.fit"):
        monkeypatch.setattr(f"pyrite.{module}.publish", full)
    for limit in (7, 19, 41):  # noqa: B007
        writes = 0
        with pytest.raises(OSError, match="No space left"):
            bench.train(config)
        assert [p.name for p in config.run_folder.rglob("*.tmp-*")] == []
    limit = 10**6
    found = bench.train(config)
    assert same(found, expected)
    assert swaps_of(config) == swaps_of(whole)
    for kind in ("published", "generation", "swap"):
        assert log_of(config, kind) == log_of(whole, kind)


# what a disk that is full does to a process, without one
FULL = f"""
import resource, sys
from pyrite.cli import main
from pyrite.trainers import %s as module
real = module.%s

def full(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, ({_LIMIT}, resource.RLIM_INFINITY))
    return real(*arguments)

module.%s = full
main()
"""


def command(module: str, name: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", FULL % (module, name, name), *arguments]


# the disk is full at the fourth file that a process puts in its place
FULL_LATER = """
import errno, os
from pyrite.cli import main
replace, seen = os.replace, []

def full(source, target):
    seen.append(target)
    if len(seen) == 4:
        raise OSError(errno.ENOSPC, "No space left on device")
    replace(source, target)

os.replace = full
main()
"""

ERROR = "pyrite: error: "


def said(text: str) -> list[str]:
    # a bar of progress may stand before it
    return [line.partition(ERROR)[2] for line in text.splitlines() if ERROR in line]


@pytest.mark.slow
def test_a_trainer_without_room_for_its_weights_says_so(bench: RefreshBench) -> None:
    config = bench.config("no-room", {"mode": "sync"}, train={"steps": 7})
    path = bench.folder / "no-room.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    outcome = in_subprocess(command("refresh_callback", "publish_weights", "train", path))
    assert outcome.code == 2, outcome.err[-2000:]
    assert len(said(outcome.err)) == 1
    assert "no space left on the disk" in said(outcome.err)[0]
    assert "Traceback" not in outcome.err
    home = home_of(config)
    assert list(home.weights.iterdir()) == []
    again = in_subprocess([sys.executable, "-m", "pyrite", "train", path])
    assert again.code == 0, again.err[-2000:]
    assert swaps_of(config) == [(1, 4, 6)]


@pytest.mark.slow
def test_a_refresher_without_room_says_so_and_training_goes_on(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = bench.config("no-room-beside", {"mode": "async", "max_age_steps": 0})
    verb = [sys.executable, "-c", FULL_LATER, "refresh", str(config.run_folder)]
    own = ["--parent", str(os.getpid())]
    monkeypatch.setattr(
        "pyrite.trainers.refresh_process.RefresherProcess.command",
        property(lambda process: [*verb, *own]),
    )
    monkeypatch.setattr(refresh_process, "RESTARTS", 1)
    with caplog.at_level(logging.WARNING):
        bench.train(config)
    assert any("ended with code 2 after 1 restarts" in r.message for r in caplog.records)
    log = (home_of(config).folder / "refresher.log").read_text("utf-8")
    assert len(said(log)) == 2
    assert all("no space left on the disk" in line for line in said(log))
    assert "Traceback" not in log
    assert swaps_of(config) == []
    assert generations_of(config) == []


def spoil(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "short":
        path.write_bytes(raw[: len(raw) // 2])
    else:
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)


@pytest.mark.slow
def test_a_generation_damaged_anywhere_is_left_out(
    bench: RefreshBench, caplog: pytest.LogCaptureFixture
) -> None:
    config = bench.config("spoilt", EXTERNAL, train={"steps": 9})
    bench.killed(config, 6)
    assert refresher.refresh(config.run_folder, once=True) == 1
    kept = bench.folder / "spoilt-kept"
    shutil.copytree(config.run_folder, kept, symlinks=True)
    folder = home_of(config).generations / "000001"
    names = sorted(path.name for path in folder.iterdir())
    assert "negatives.parquet" in names
    ways = [(name, how) for name in names for how in ("gone", "short", "flipped")]
    # a bit of the manifest may be one that says nothing
    ways.remove(("manifest.json", "flipped"))
    for name, how in [("", ""), *ways]:
        shutil.rmtree(config.run_folder)
        shutil.copytree(kept, config.run_folder, symlinks=True)
        caplog.clear()
        if name:
            spoil(folder / name, how)
        with caplog.at_level(logging.WARNING):
            bench.train_only(config)
        taken = [number for number, _, _ in swaps_of(config)]
        assert taken == ([] if name else [1]), (name, how)
        told = [r.message for r in caplog.records if "000001" in r.message]
        # without a manifest it is not there yet
        assert bool(told) == (name != "" and (name, how) != ("manifest.json", "gone")), (name, how)


def test_a_slow_refresher_leaves_weights_out(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = bench.config("slow", EXTERNAL)
    home = home_of(config)
    home.begin("key", config)
    model = SentenceTransformer(config.encoder.model, device="cpu")
    # the steps of the weights that come while each generation is made
    meanwhile: dict[int, list[int]] = {2: [4, 6, 8], 8: [10, 12], 12: []}
    asked = []

    def make(config: TrainConfig, weights: Weights, store: Generations) -> str:
        asked.append(weights.step)
        for step in meanwhile[weights.step]:
            publish_weights(model, home.weights, step, "key")
        return "made"

    monkeypatch.setattr(refresher, "make_generation", make)
    monkeypatch.setattr(refresher, "say", lambda made: None)
    publish_weights(model, home.weights, 2, "key")
    assert refresher.refresh(config.run_folder, once=True) == 3
    assert asked == [2, 8, 12]


@pytest.mark.slow
@pytest.mark.slow
def test_times_of_files_change_nothing(bench: RefreshBench) -> None:
    whole = bench.config("on-time", {"mode": "sync"})
    skewed = bench.config("skewed", {"mode": "sync"})
    expected = bench.train(whole)
    bench.killed(skewed, 9)
    files = sorted(skewed.run_folder.rglob("*"))
    for at, path in enumerate(files):
        # years ahead, years ago, and the other way round than they were written
        then = (4_000_000_000, 0, 1_000_000_000 - at)[at % 3]
        os.utime(path, (then, then), follow_symlinks=False)
    assert same(bench.train(skewed), expected)
    assert swaps_of(skewed) == swaps_of(whole)


@pytest.mark.slow
def test_training_does_not_stand_still_for_a_refresher_that_begins(bench: RefreshBench) -> None:
    config = bench.config(
        "running",
        {"mode": "async", "every_steps": 100},
        train={"steps": 1500, "save_every": 500},
    )
    bench.train_only(config)
    rows = {kind: log_of_seconds(config, kind) for kind in ("stall", "trained")}
    trained = sum(rows["trained"].values())
    share = sum(rows["stall"].values()) / trained
    # a step of this model takes ten milliseconds, and a whole one is saved every hundred
    assert 0 < share < 0.1, share
    # not even while the first one imports
    assert max(rows["stall"].values()) < 4.0


def log_of_seconds(config: TrainConfig, kind: str) -> dict[int, float]:
    """Seconds of a kind of row by step, summed."""
    found: dict[int, float] = {}
    for line in (home_of(config).folder / "log.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["kind"] == kind:
            found[row["step"]] = found.get(row["step"], 0.0) + row["seconds"]
    return found


@pytest.mark.slow
def test_seconds_of_a_killed_training_are_those_that_lasted(bench: RefreshBench) -> None:
    config = bench.config("seconds", {"mode": "sync"})
    bench.killed(config, 12)
    before = log_of_seconds(config, "trained")
    assert list(before) == [5, 10]
    bench.train_only(config)
    after = log_of_seconds(config, "trained")
    assert list(after) == [5, 10, 14]
    assert all(after[step] == before[step] for step in before)

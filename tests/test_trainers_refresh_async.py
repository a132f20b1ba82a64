from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_setup import SCRIPT
from quick import quick
from refresh_setup import (
    RefreshBench,
    generations_of,
    home_of,
    log_of,
    negatives_in,
    same,
    swaps_of,
    watched,
)

from pyrite.core.errors import PyriteError
from pyrite.core.store import publish
from pyrite.trainers import arrivals, refresher
from pyrite.trainers.generations import Generations
from pyrite.trainers.make_generation import make_generation
from pyrite.trainers.refresh_process import RefresherProcess
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.weights import Weights

ASYNC: dict[str, Any] = {"mode": "async", "refresher": "external"}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> RefreshBench:
    # a refresher in a thread draws from torch's one generator of noise when it loads a model
    return RefreshBench.build(tmp_path_factory.mktemp("refresh"), dropout=0.0)


@contextlib.contextmanager
def at_work(config: TrainConfig) -> Iterator[list[int]]:
    """A refresher of the run in a thread, which ends with the training."""
    made: list[int] = []

    def work() -> None:
        while home_of(config).read("training.json") is None:
            time.sleep(0.01)
        made.append(refresher.refresh(config.run_folder))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield made
    finally:
        home = home_of(config)
        home.say(home.read("training.json")["key"], "finished")
        thread.join(60)
        assert not thread.is_alive()


def slowly(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Make every generation take longer."""

    def make(config: TrainConfig, weights: Weights, store: Generations) -> Any:
        time.sleep(seconds)
        return make_generation(config, weights, store)

    patch.setattr(refresher, "make_generation", make)


def test_with_max_age_0_it_is_sync_step_by_step(bench: RefreshBench) -> None:
    sync = bench.config("sync", {"mode": "sync"})
    other = bench.config("age-0", {**ASYNC, "max_age_steps": 0})
    with watched() as alone:
        expected = bench.train(sync)
    with at_work(other) as made, watched() as seen:
        assert same(bench.train(other), expected)
    assert seen == alone
    assert made == [2]
    assert swaps_of(other) == swaps_of(sync) == [(1, 4, 6), (2, 8, 10)]
    for kind in ("published", "generation", "swap"):
        assert log_of(other, kind) == log_of(sync, kind)


@pytest.mark.slow
def test_a_killed_training_repeats_the_swaps_of_before(bench: RefreshBench) -> None:
    config = bench.config("killed", ASYNC, train={"steps": 60, "save_every": 20})
    with at_work(config), watched() as before:
        bench.killed(config, 58)
    swaps = swaps_of(config)
    assert any(decided > 20 for _, decided, _ in swaps)
    # nobody refreshes any more: what is taken after step 20 was taken before
    shutil.rmtree(config.run_folder / "models" / "mined" / "checkpoints" / "checkpoint-40")
    with watched() as after:
        bench.train(config)
    assert swaps_of(config)[: len(swaps)] == swaps
    # a swap decided last may be for steps that the killed run did not reach
    known = min(max(since for _, _, since in swaps), len(before))
    assert after[: known - 20] == before[20:known]


@pytest.mark.slow
def test_no_negatives_of_a_later_step_are_taken(bench: RefreshBench) -> None:
    config = bench.config("future", {**ASYNC, "max_age_steps": 0})
    with at_work(config):
        bench.killed(config, 9)
    home = home_of(config)
    assert home.read("CURRENT") == {"generation": 2, "step": 8}
    (home.folder / "swaps.json").unlink()
    with at_work(config):
        bench.train(config)
    # from the checkpoint of step 5 on: what was mined with the weights of step 8 waits for it
    assert swaps_of(config) == [(2, 8, 10)]


@pytest.mark.parametrize("how", ["stop", pytest.param("warn", marks=pytest.mark.slow)])
def test_stale_negatives(
    bench: RefreshBench,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    section = {**ASYNC, "max_age_steps": 5, "on_stale": how}
    config = bench.config(f"stale-{how}", section)
    slowly(monkeypatch, 3.0)
    with caplog.at_level(logging.WARNING), at_work(config):
        if how == "stop":
            with pytest.raises(PyriteError, match=r"after step 6 .* 6 steps old.*max_age_steps=5"):
                bench.train(config)
        else:
            bench.train(config)
    said = [record for record in caplog.records if "steps old" in record.message]
    assert len(said) == (how == "warn")


@pytest.mark.slow
def test_a_damaged_generation_is_never_read(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(scratch: Path, target: Path) -> None:
        if target.name == "000001":
            path = scratch / "negatives.parquet"
            path.write_bytes(path.read_bytes()[:-1])
        publish(scratch, target)

    monkeypatch.setattr("pyrite.trainers.make_generation.publish", spoil)
    config = bench.config("damaged", {**ASYNC, "max_age_steps": 0})
    with caplog.at_level(logging.WARNING), at_work(config):
        bench.train(config)
    assert [swap[0] for swap in swaps_of(config)] == [2]
    said = [record.message for record in caplog.records if "damaged" in record.message]
    assert len(said) == 1
    assert "000001" in said[0]


@pytest.mark.slow
def test_a_refresher_that_never_comes_is_told_of(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arrivals, "_ABSENT_S", 0.2)
    config = bench.config("absent", {**ASYNC, "max_age_steps": 0})
    with caplog.at_level(logging.WARNING):
        bench.train(config)
    said = [r.message for r in caplog.records if "no refresher is at work" in r.message]
    assert len(said) == 1
    assert f"pyrite refresh {config.run_folder}" in said[0]
    assert swaps_of(config) == []


@pytest.mark.slow
def test_a_real_refresher_is_restarted_and_its_end_stops_nothing(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pids: list[int] = []
    start = RefresherProcess.start

    def record(process: RefresherProcess) -> None:
        start(process)
        assert process.pid is not None
        pids.append(process.pid)
        # each one before it can have made anything, but for the last
        if len(pids) < 3:
            os.kill(process.pid, signal.SIGKILL)

    monkeypatch.setattr(RefresherProcess, "start", record)
    config = bench.config("real", {"mode": "async", "max_age_steps": 0})
    expected = bench.train(bench.config("real-sync", {"mode": "sync"}))
    with caplog.at_level(logging.WARNING):
        assert same(bench.train(config), expected)
    assert len(pids) == 3
    assert sum("is started again" in record.message for record in caplog.records) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_training_goes_on_without_a_refresher_that_keeps_dying(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        RefresherProcess, "command", property(lambda self: ["python", "-c", "raise SystemExit(9)"])
    )
    config = bench.config("dying", {"mode": "async", "max_age_steps": 0})
    with caplog.at_level(logging.WARNING):
        bench.train(config)
    assert swaps_of(config) == []
    assert any("after 3 restarts" in record.message for record in caplog.records)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["cache/embeddings/*", "generations/*.tmp-*/negatives.parquet"])
def test_a_refresher_killed_at_work_leaves_nothing_half(bench: RefreshBench, moment: str) -> None:
    name = moment.partition("/")[0]
    configs = [bench.config(f"{way}-{name}", ASYNC) for way in ("peace", "killed")]
    for config in configs:
        bench.killed(config, 5)
    peace, killed = (config.run_folder for config in configs)
    assert refresher.refresh(peace, once=True) == 1
    folder = home_of(configs[1]).folder
    with subprocess.Popen([SCRIPT, "refresh", str(killed)], stderr=subprocess.DEVNULL) as process:
        while not list(folder.glob(moment)):
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
    assert generations_of(configs[1]) == []
    assert refresher.refresh(killed, once=True) == 1
    found = [generations_of(config)[0].folder for config in configs]
    assert negatives_in(found[0]) == negatives_in(found[1])
    assert not list(folder.glob("generations/*.tmp-*"))

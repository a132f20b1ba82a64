"""Two processes under torchrun that are killed go on to the bytes of two left in peace."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_setup import in_subprocess, plain_environment, write_setup
from fakes import toy_dataset
from test_trainers_torchrun import LAUNCH, model_of
from torch import equal

pytestmark = pytest.mark.slow
LIMIT_S = 240


def children_of(pid: int) -> list[int]:
    """Processes that `pid` has started, and theirs."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text("utf-8").split()):
            found += [child, *children_of(child)]
    return found


def killed_at(command: list[str | Path], environment: dict[str, str], checkpoints: Path) -> None:
    """Start a command and kill all its processes once a checkpoint is whole."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**plain_environment(), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stop = time.monotonic() + LIMIT_S
    while not any(checkpoints.glob("*/manifest.json")):
        assert process.poll() is None, "ended too early"
        assert time.monotonic() < stop, "the moment to kill never came"
        time.sleep(0.01)
    # workers have sessions of their own, and outlive their launcher
    workers = children_of(process.pid)
    assert len(workers) >= 2
    for pid in (*workers, process.pid):
        os.kill(pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < stop:
        time.sleep(0.01)


def test_two_killed_processes_end_with_the_same_bytes(tmp_path: Path) -> None:
    other = str(toy_dataset(tmp_path / "other", 50, 24, seed=1))
    train: dict[str, Any] = {
        **{"steps": 16, "batch_size": 4, "save_every": 2, "learning_rate": 1e-3},
        "datasets": [{}, {"weight": 2, "dataset": {"path": other}, "query_prompt": "ask: "}],
    }
    config = write_setup(tmp_path, train=train)
    environment = {"OMP_NUM_THREADS": "1"}

    def command(runs: str) -> list[str | Path]:
        return [*LAUNCH, "-m", "pyrite", "train", config, f"runs_dir={tmp_path}/{runs}"]

    whole = in_subprocess(command("whole"), environment=environment)
    assert whole.code == 0, whole.err
    mined = tmp_path / "killed" / "toy" / "models" / "mined"
    killed_at(command("killed"), environment, mined / "checkpoints")
    assert not (mined / "manifest.json").exists(), "killed too late"
    again = in_subprocess(command("killed"), environment=environment)
    assert again.code == 0, again.err
    assert "models/mined/checkpoints/checkpoint-" in again.err
    assert "models/in_batch: trained already" in again.err
    for system in ("in_batch", "mined"):
        weights, facts = model_of(tmp_path / "whole", system)
        found, resumed = model_of(tmp_path / "killed", system)
        assert all(equal(found[name], weights[name]) for name in weights)
        assert resumed["files"] == facts["files"]
        assert resumed["steps"] == facts["steps"] == 16

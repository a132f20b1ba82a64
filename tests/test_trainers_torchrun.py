"""Two processes under torchrun train what one process trains."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_setup import SCRIPT, in_subprocess, write_setup
from safetensors.torch import load_file

from pyrite.core.store import Manifest

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# dropout draws other numbers in each process
TRAIN = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.0, "logging_steps": 1}


def model_of(runs: Path, system: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    folder = runs / "toy" / "models" / system
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)
    return load_file(folder / "model" / "model.safetensors"), manifest.data


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [pytest.param({}, marks=pytest.mark.long), {"mini_batch_size": 4, "distil_base": 0.5}],
    ids=str,
)
def test_two_processes_train_as_one(tmp_path: Path, more: dict[str, Any]) -> None:
    config = write_setup(tmp_path, train={**TRAIN, **more})
    one = in_subprocess([SCRIPT, "train", config, f"runs_dir={tmp_path}/one"])
    assert one.code == 0, one.err
    # a cache of its own: both processes meet an empty one
    apart = [f"runs_dir={tmp_path}/two", f"cache_dir={tmp_path}/other"]
    command: list[str | Path] = [*LAUNCH, "-m", "pyrite", "train", config, *apart]
    two = in_subprocess(command, environment={"OMP_NUM_THREADS": "1"})
    assert two.code == 0, two.err
    # only one process prints
    assert two.out.count("wrote ") == one.out.count("wrote ") == 1
    assert "4 on each of 2 processes" in two.err
    base = load_file(tmp_path / "tiny" / "model" / "model.safetensors")
    for system in ("in_batch", "mined"):
        alone, alone_facts = model_of(tmp_path / "one", system)
        together, facts = model_of(tmp_path / "two", system)
        assert facts["training_loss"] == pytest.approx(alone_facts["training_loss"], rel=1e-5)
        assert facts["steps"] == alone_facts["steps"] == 3
        moved = max((alone[name] - base[name]).abs().max() for name in base)
        difference = max((alone[name] - together[name]).abs().max() for name in base)
        assert difference < 0.02 * moved


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param({"mode": "sync"}, marks=pytest.mark.long),
        {"mode": "async", "max_age_steps": 0},
    ],
    ids=str,
)
def test_two_processes_swap_at_the_same_step(tmp_path: Path, mode: dict[str, Any]) -> None:
    section = {"every_steps": 2, **mode}
    config = write_setup(tmp_path, train={**TRAIN, "steps": 8}, refresh=section)
    command: list[str | Path] = [*LAUNCH, "-m", "pyrite", "train", config]
    found = in_subprocess(command, environment={"OMP_NUM_THREADS": "1"})
    assert found.code == 0, found.err
    run = tmp_path / "runs" / "toy"
    swaps = json.loads((run / "refresh" / "swaps.json").read_text("utf-8"))
    decided = [(swap["generation"], swap["decided"], swap["since"]) for swap in swaps]
    assert decided == [(1, 2, 4), (2, 4, 6)]
    words = [np.load(run / "feed" / f"mined-{rank}" / "generation.npy") for rank in (0, 1)]
    assert words[0].tolist() == words[1].tolist() != [0]


@pytest.mark.slow
def test_a_batch_that_the_processes_cannot_share_is_an_error(tmp_path: Path) -> None:
    config = write_setup(tmp_path, train={**TRAIN, "batch_size": 7})
    found = in_subprocess([*LAUNCH, "-m", "pyrite", "train", config])
    assert found.code != 0
    says = "train.batch_size=7 is the batch of all 2 processes together; set it to a multiple of 2"
    assert says in found.err

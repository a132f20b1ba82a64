"""Processes that train together: whose GPU is whose, and folders that all of them see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_setup import in_subprocess
from test_trainers_torchrun import LAUNCH

from pyrite.core.errors import PyriteError
from pyrite.trainers import processes

PROCESS = """
import os, sys
from pathlib import Path
import torch
from pyrite.core.errors import PyriteError
from pyrite.trainers import processes

processes._SEEN_S = 0.3
processes.join_processes("cpu")
folder = Path(sys.argv[1])
processes.check_shared({"runs_dir": folder / "runs" / "new"})
# as on two machines with a folder each
own = folder / os.environ["RANK"]
try:
    processes.check_shared({"runs_dir": folder / "runs", "cache_dir": own})
except PyriteError as error:
    (folder / f"said-{os.environ['RANK']}").write_text(str(error))
torch.distributed.destroy_process_group()
"""


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A machine with two GPUs, on which nothing is done but noted."""
    seen: list[Any] = []
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda kind, timeout: seen.append(kind)
    )
    return seen


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_process_takes_its_gpu_before_it_meets_the_others(
    cuda: list[Any], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    # the sixth of eight, and the second of its machine
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    processes.join_processes(device)
    assert cuda == [1, "nccl"]


def test_a_process_without_a_gpu_says_how_many_there_are(
    cuda: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(PyriteError, match=r"process 2 .* there are 2; .* --nproc-per-node 2$"):
        processes.join_processes("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(PyriteError, match=r"encoder\.device=cuda: .* there are 0; set it to cpu$"):
        processes.join_processes("cuda")
    processes.join_processes("cpu")
    assert cuda == ["gloo"]


def test_a_process_alone_meets_nobody(tmp_path: Path) -> None:
    processes.join_processes("cuda")
    processes.check_shared({"runs_dir": tmp_path / "a"})
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_folder_that_one_process_does_not_see_ends_them_all(tmp_path: Path) -> None:
    script = tmp_path / "process.py"
    script.write_text(PROCESS, encoding="utf-8")
    found = in_subprocess([*LAUNCH, script, tmp_path], environment={"OMP_NUM_THREADS": "1"})
    assert found.code == 0, found.err
    said = [(tmp_path / f"said-{rank}").read_text("utf-8") for rank in (0, 1)]
    assert said[0].startswith(f"cache_dir={tmp_path}/0: process 1 does not see there")
    assert said[1].startswith(f"cache_dir={tmp_path}/1: process 1 does not see there")
    assert "set cache_dir to a folder that all machines share" in said[0]
    # nothing is left lying about
    assert not [p for p in tmp_path.rglob(".seen-*") if p.parent.name != "0"]
    assert os.listdir(tmp_path / "runs" / "new") == os.listdir(tmp_path / "0") == []

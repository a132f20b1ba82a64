"""Two processes: the gathered loss and its gradients are those of one process with all rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loss_configs import SINGLE, SOFTMAX, WAYS, named

from pyrite.trainers.row_losses import WHOLE

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parent

CHILD = """
import json, sys
import torch
import torch.distributed as dist
from loss_cases import Lookup, LossBatch, loss_of, random_batch, table_gradient
from pyrite.trainers.loss_config import LossSection

torch.set_num_threads(1)
rank, folder, configs = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
found = []
for config in configs:
    section = LossSection(**config)
    for seed in (1, 2):
        whole = random_batch(seed, rows=6, negatives=2)
        mine = whole.reordered([0, 1, 2] if rank == 0 else [3, 4, 5])
        one = Lookup()
        wanted = loss_of(one, whole, section)
        wanted_gradient = table_gradient(one, wanted)
        for cached in (None, 2):
            model = Lookup()
            value = loss_of(
                model, mine, section, gather_across_devices=True, mini_batch_size=cached
            )
            gradient = table_gradient(model, value)
            total = torch.cat((value.detach()[None], gradient.flatten()))
            # what distributed data parallel training does
            dist.all_reduce(total)
            wanted_total = torch.cat((wanted.detach()[None], wanted_gradient.flatten()))
            apart = (total / 2 - wanted_total).abs().max() / wanted_total.abs().max()
            found.append((float(apart), float(wanted)))
# without labels each process's texts are its own
plain = LossSection(directions=("q2d", "d2q", "q2q", "d2d"))
values = []
for gather in (True, False):
    from pyrite.trainers.loss import ContrastiveLoss
    half = LossBatch([[r, r, 5 + r] for r in ((0, 1) if rank == 0 else (2, 3))])
    batch = half if gather else LossBatch([[r, r, 5 + r] for r in range(4)])
    loss = ContrastiveLoss(Lookup(), plain, gather_across_devices=gather)(batch.features())
    total = loss.detach().clone()
    dist.all_reduce(total)
    values.append(float(total / 2))
if rank == 0:
    print(json.dumps({"found": found, "plain": values}))
dist.destroy_process_group()
"""


def configs() -> list[dict[str, Any]]:
    softmax = [{**loss, **way} for loss in SOFTMAX for way in (WAYS[0], WAYS[3], WAYS[4])]
    return [c for c in [*softmax, *SINGLE] if c["name"] not in WHOLE]


def test_two_processes_are_one_batch(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", CHILD]
    given = [str(tmp_path), json.dumps(configs())]
    processes = [
        subprocess.Popen(
            [*command, str(rank), *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    result = json.loads(outputs[0][0])
    names = [named(config) for config in configs() for _ in range(4)]
    assert len(result["found"]) == len(names)
    for name, (apart, value) in zip(names, result["found"], strict=True):
        assert apart < 1e-4, name
        assert value > 0, name
    gathered, single = result["plain"]
    assert gathered == pytest.approx(single, rel=1e-5)

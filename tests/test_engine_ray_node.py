"""A node of a Ray cluster is lost: the rest finishes its blocks and takes its shard over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_a_lost_node_costs_its_block_and_its_shard(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    # a process of its own: Ray is one for each, and this one is of two nodes
    script = str(Path(__file__).with_name("ray_node_child.py"))
    run = [sys.executable, script, str(tmp_path / "notes")]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["sees_files"] is False
    assert sorted(report["results"]) == [[number, 2 * number] for number in range(10)]
    begun = Counter(line.split()[0] for line in (tmp_path / "notes").read_text().splitlines())
    # the block that it was at, or the one whose result still lay there
    assert sorted(begun.values()) in ([1] * 9 + [2], [1] * 8 + [2, 2])
    assert report["same_before"]
    assert report["same_after"]
    assert report["actors_before"] == 2
    assert report["actors_after"] == 1
    assert "no room for a new worker; another holds shard" in ended.stderr

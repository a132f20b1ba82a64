"""A refresh killed at any of its writes is made good, by the next refresher or the next run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_setup import in_subprocess

pytestmark = pytest.mark.slow

# what is renamed into place, beside parts, while each is killed
PUBLISHED = {
    "refresher": {"000002", "CURRENT", "negatives.parquet", "report.json", "emb-00000.npy"},
    "trainer": {"step-00000006", "000003", "CURRENT", "ids.npy", "probabilities.npy", "swaps.json"},
}


@pytest.mark.parametrize("scenario", PUBLISHED)
def test_a_kill_at_any_write_is_made_good(scenario: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_refresh.py")
    outcome = in_subprocess([sys.executable, script, scenario, tmp_path / "here"])
    assert outcome.code == 0, outcome.err[-2000:]
    report: dict[str, Any] = json.loads(outcome.out)
    assert report["faults"] == []
    published = {n.partition(" ")[2] for n in report["killed"] if n.startswith("publish")}
    assert published >= {*PUBLISHED[scenario], "manifest.json"}
    assert [name for name in report["left_over"] if ".tmp-" in name] == []

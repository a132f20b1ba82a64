"""What `pyrite train` prints of a refreshed training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_setup import in_process, write_setup
from quick import quick

from pyrite.trainers.refresh_log import RefreshLog

OVERRIDES = ("refresh.mode=sync", "refresh.every_steps=2", "train.steps=8", "train.save_every=4")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


def cells(text: str) -> dict[str, str]:
    """Values of a table by what stands before them."""
    found = {}
    for line in text.splitlines():
        name, bar, value = line.strip("│┃| ").partition("│")
        if bar:
            found[name.strip()] = value.strip()
    return found


def test_a_table_of_refreshes_follows_that_of_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = str(write_setup(tmp_path))
    outcome = in_process(monkeypatch, capfd, "train", config, *OVERRIDES)
    assert outcome.code == 0
    home = tmp_path / "runs" / "toy" / "refresh"
    rows = RefreshLog(home).rows()
    systems, title, table = outcome.out.partition("refreshed negatives")
    assert title
    assert "held-out queries" in systems
    found = cells(table)
    # the weights of step 6 would never be drawn from
    assert found["weights published"] == found["generations mined"] == found["swaps"] == "2"
    assert found["refused"] == "0"
    assert found["age in steps, mean (most)"] == "2.0 (2.0)"
    churns = [row["churn"] for row in rows if row["kind"] == "swap"]
    mean = sum(churns) / len(churns)
    assert found["churn, mean (most)"] == f"{mean:.3f} ({max(churns):.3f})"
    stalled, trained = (
        sum(row["seconds"] for row in rows if row["kind"] == kind) for kind in ("stall", "trained")
    )
    share = f"{100 * stalled / trained:.2f}% of {trained:.1f} s"
    assert found["stood still for negatives"] == f"{stalled:.1f} s ({share})"
    assert 0 < stalled < trained
    assert (home / "refresh.png").exists()
    again = in_process(monkeypatch, capfd, "train", config, *OVERRIDES, "--json")
    assert set(json.loads(again.out)) == {"systems", "comparisons"}

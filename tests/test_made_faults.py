"""Kills against a real server: what has been paid for is kept, and the result is the same."""

from __future__ import annotations

import collections
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import serving
from embedding_server import Reply, Server
from fakes import toy_dataset
from made_cases import good, on_server

from pyrite.core.config import parse_config
from pyrite.core.store import Manifest
from pyrite.miner.made.config import MakeConfig
from pyrite.miner.made.make import make
from pyrite.miner.relabel.verdict_store import VerdictStore

pytestmark = pytest.mark.slow
pytest.importorskip("openai", reason="the extra `openai` is not installed")
TESTS = Path(__file__).resolve().parent
CONCURRENCY, QUERIES = 8, 160


class Counting:
    """Answers as it should, and counts what was asked of it by the message."""

    def __init__(self) -> None:
        self.paid: collections.Counter[str] = collections.Counter()

    def __call__(self, payload: dict[str, Any]) -> Reply:
        time.sleep(0.01)
        self.paid[payload["messages"][1]["content"]] += 1
        return good(payload)


def test_a_killed_run_loses_only_the_calls_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(monkeypatch) as server:
        _kill_again_and_again(server, tmp_path)


def _kill_again_and_again(server: Server, folder: Path) -> None:
    counting = server.default = Counting()
    toy_dataset(folder / "data", 100, QUERIES)
    calls = 2 * QUERIES * 3 // 4
    command = [sys.executable, str(TESTS / "made_child.py"), server.url, str(folder)]
    made = folder / "runs" / "toy" / "made"
    kills = lost = 0
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        with subprocess.Popen(command) as child:
            while counting.paid.total() < share * calls + lost and child.poll() is None:
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
        kills += child.returncode == -signal.SIGKILL
        while server.active:
            time.sleep(0.01)
        # every reply is in the store, but for those that were on their way
        with VerdictStore(folder / "cache" / "verdicts.sqlite", str(made.resolve())) as store:
            missing = counting.paid.total() - lost - store.spent().calls
        assert 0 <= missing <= CONCURRENCY
        lost += missing
        assert Manifest.read(made) is None
    assert kills >= 3
    subprocess.run(command, check=True, timeout=120)
    assert counting.paid.total() == calls + lost
    assert counting.paid.total() - len(counting.paid) <= lost
    names = ("made.jsonl", "texts.arrow", "triplets.jsonl", "report.json")
    found = {name: (made / name).read_bytes() for name in names}
    # in peace, in another folder
    other = folder / "peace"
    (other).mkdir()
    (other / "data").symlink_to(folder / "data")
    peace = make(parse_config(MakeConfig, on_server(other, server.url)))
    assert found == {name: (peace.folder / name).read_bytes() for name in names}

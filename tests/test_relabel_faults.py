"""Kills and load against a real server: what has been paid for is kept, and the server is busy."""

from __future__ import annotations

import collections
import itertools
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import (
    CHILD_CASES,
    beyond,
    cases,
    cut_short,
    cut_unsaid,
    documents,
    expected,
    filtered,
    good,
    made,
    refusal,
    serving,
    settings,
)
from embedding_server import Reply, Server, garbage, hang_up, status

from pyrite.miner.relabel.budget import Budget
from pyrite.miner.relabel.case import Case
from pyrite.miner.relabel.judges.build import build_judge
from pyrite.miner.relabel.verdict_store import VerdictStore

pytestmark = pytest.mark.slow
pytest.importorskip("openai", reason="the extra `openai` is not installed")
TESTS = Path(__file__).resolve().parent
CONCURRENCY = 8


class Unreliable:
    """Right nine times of ten, otherwise one of every trouble there is; counts what it answered."""

    def __init__(self) -> None:
        self.random = random.Random(5)
        self.turn = itertools.cycle(
            [
                status(429, Retry_After="0.05"),
                status(500),
                cut_short,
                cut_unsaid,
                beyond,
                refusal,
                filtered,
                garbage,
                hang_up,
                self.late,
            ]
        )
        self.paid: collections.Counter[str] = collections.Counter()

    def late(self, payload: dict[str, Any]) -> Reply:
        time.sleep(0.2)
        return self.right(payload)

    def right(self, payload: dict[str, Any]) -> Reply:
        self.paid.update(documents(payload))
        return good(payload)

    def __call__(self, payload: dict[str, Any]) -> Reply:
        time.sleep(0.01)
        return next(self.turn)(payload) if self.random.random() < 0.1 else self.right(payload)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as running:
        yield running


def stored(server: Server, path: Path, asked: list[Case]) -> set[str]:
    """The documents of the cases that have a verdict."""
    with VerdictStore(path, "run") as store:
        key = made(server, store).key
        return {
            doc.text
            for one in asked
            for doc, verdict in zip(one.documents, store.get(key, one), strict=True)
            if verdict is not None
        }


def test_a_killed_process_loses_only_the_calls_under_way(server: Server, tmp_path: Path) -> None:
    unreliable = Unreliable()
    server.default = unreliable
    path = tmp_path / "verdicts.sqlite"
    command = [sys.executable, str(TESTS / "judge_child.py"), server.url, str(path)]
    asked = cases(CHILD_CASES, 4)
    known: set[str] = set()
    lost = kills = 0
    for share in (0.15, 0.35, 0.55, 0.75, 0.9):
        before = collections.Counter(unreliable.paid)
        with subprocess.Popen(command) as child:
            while len(unreliable.paid) < share * 4 * CHILD_CASES and child.poll() is None:
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
        kills += child.returncode == -signal.SIGKILL
        while server.active:
            time.sleep(0.01)
        assert all(unreliable.paid[text] == before[text] for text in known)
        known = stored(server, path, asked)
        missing = set(unreliable.paid) - known
        assert len(missing) <= CONCURRENCY * 4
        lost += len(missing)
    assert kills >= 3
    subprocess.run(command, check=True, timeout=120)
    with VerdictStore(path, "run") as store:
        judge = made(server, store)
        assert [store.get(judge.key, one) for one in asked] == [expected(one) for one in asked]
    assert sum(unreliable.paid.values()) - 4 * CHILD_CASES <= lost


def test_a_busy_server_stays_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots, seconds, count = 4, 0.05, 240
    monkeypatch.setenv("PYRITE_TEST_KEY", "k")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    command = [sys.executable, str(TESTS / "slot_server.py"), str(slots), str(seconds)]
    rates = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        with VerdictStore(tmp_path / "verdicts.sqlite") as store:
            judge = build_judge(settings(url, concurrency=64), store, Budget(), 0, "stages.1")
            list(judge.judge(cases(64, 1)))  # connections are made
            # the best of some: other programs may take the processor away
            for turn in range(5):
                asked = [replace(one, query=f"{turn} {one.row}") for one in cases(count, 1)]
                started = time.monotonic()
                found = [judgement.state for _, judgement in judge.judge(asked)]
                rates.append(count / (time.monotonic() - started))
                assert found == ["ok"] * count
                if rates[-1] > 0.85 * slots / seconds:
                    break
        process.kill()
    assert max(rates) > 0.85 * slots / seconds

"""Judges cases on a server in a process of its own, to be killed: `judge_child.py URL STORE`."""

from __future__ import annotations

import sys
from pathlib import Path

from chat_server import CHILD_CASES, cases, settings

from pyrite.core.server import connection
from pyrite.miner.relabel.budget import Budget
from pyrite.miner.relabel.judges.build import build_judge
from pyrite.miner.relabel.verdict_store import VerdictStore


def main(url: str, path: str) -> None:
    connection.BACKOFF_S = 0.02
    section = settings(url, concurrency=8, timeout_s=2, max_retries=20)
    with VerdictStore(Path(path), "run") as store:
        judge = build_judge(section, store, Budget(), 0, "stages.1")
        for _ in judge.judge(cases(CHILD_CASES, 4)):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])

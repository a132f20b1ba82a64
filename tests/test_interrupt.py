"""Ctrl-C in real processes: one sentence, exit code 130, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import good, serving
from cli_setup import SCRIPT, in_subprocess, plain_environment, write_setup
from embedding_server import Reply, Server
from paused_child import READY

pytestmark = pytest.mark.slow
CHILD = Path(__file__).with_name("paused_child.py")
LIMIT_S = 240
STOPPING = "pyrite: stopping; Ctrl-C again stops at once"
INTERRUPTED = "pyrite: interrupted; run the same command again to go on"
AT_ONCE = "pyrite: stopped at once; run the same command again to go on"


def interrupted(
    command: list[str | Path],
    folder: Path,
    due: Callable[[str], bool],
    times: int = 1,
) -> list[str]:
    """Lines of standard error of a command that gets Ctrl-C `times` times once `due` says so."""
    log = folder / "stderr.txt"
    with log.open("w", encoding="utf-8") as handle:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=plain_environment(),
            stdout=subprocess.DEVNULL,
            stderr=handle,
            start_new_session=True,
        )
        _until(lambda: due(log.read_text("utf-8")), process, log)
        for number in range(1, times + 1):
            # a terminal sends it to the whole group
            os.killpg(process.pid, signal.SIGINT)
            if number < times:
                _until(lambda: STOPPING in log.read_text("utf-8"), process, log)
        assert process.wait(LIMIT_S) == 130, log.read_text("utf-8")[-3000:]
    return log.read_text("utf-8").splitlines()


def _until(happened: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    stop = time.monotonic() + LIMIT_S
    while not happened():
        assert process.poll() is None, f"ended too early: {log.read_text('utf-8')[-3000:]}"
        assert time.monotonic() < stop, f"the moment never came: {log.read_text('utf-8')[-3000:]}"
        time.sleep(0.02)


def clean(lines: list[str], last: str) -> None:
    """Nothing but our own sentences at the end."""
    assert lines[-1] == last
    assert not any("Traceback" in line or "KeyboardInterrupt" in line for line in lines)


def again(command: list[str | Path], folder: Path) -> tuple[str, str]:
    """What the same command prints when it is left in peace."""
    outcome = in_subprocess(command, cwd=folder)
    assert outcome.code == 0, outcome.err[-3000:]
    # neither our bars nor those of other libraries
    assert "\r" not in outcome.err
    return outcome.out, outcome.err


def paused(moment: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, CHILD, moment, *arguments]


def at_moment(log: str) -> bool:
    return READY in log


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.long)])
def test_mining(times: int, tmp_path: Path) -> None:
    config = write_setup(tmp_path)
    moment = "encode" if times == 1 else "stubborn-encode"
    lines = interrupted(paused(moment, "mine", config), tmp_path, at_moment, times)
    clean(lines, INTERRUPTED if times == 1 else AT_ONCE)
    assert not (tmp_path / "runs" / "toy" / "negatives").exists()
    out, _ = again([SCRIPT, "mine", config, "--json"], tmp_path)
    assert json.loads(out)["queries"] == 15


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.long), 2])
def test_training(times: int, tmp_path: Path) -> None:
    config = write_setup(tmp_path, train={"steps": 4, "batch_size": 4, "save_every": 2})
    moment = "checkpoint" if times == 1 else "stubborn-checkpoint"
    lines = interrupted(paused(moment, "train", config), tmp_path, at_moment, times)
    clean(lines, INTERRUPTED if times == 1 else AT_ONCE)
    out, err = again([SCRIPT, "train", config, "--json"], tmp_path)
    assert "training goes on at" in err
    assert list(json.loads(out)["systems"]) == ["base", "in_batch", "mined"]


def test_training_with_a_refresher_leaves_no_process(tmp_path: Path) -> None:
    config = write_setup(tmp_path, train={"steps": 8, "batch_size": 4, "save_every": 4})
    given = ["refresh.mode=async", "refresh.every_steps=2", "cache_dir=cache", "runs_dir=runs"]
    command = paused("checkpoint", "train", config, *given)
    clean(interrupted(command, tmp_path, at_moment), INTERRUPTED)
    out, _ = again([SCRIPT, "train", config, *given, "--json"], tmp_path)
    assert "mined" in json.loads(out)["systems"]
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in running.stdout


class SomeThenNone:
    """Answers so many requests at once, and keeps the others waiting until it is let go."""

    def __init__(self, most: int) -> None:
        self.left, self.asked = most, 0
        self.go = threading.Event()

    def __call__(self, payload: dict[str, Any]) -> Reply:
        self.left -= 1
        self.asked += 1
        if self.left < 0:
            self.go.wait(LIMIT_S)
        return good(payload)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as running:
        yield running


def relabelling(folder: Path, url: str) -> Path:
    rows = [
        {"query": f"query {i}", "pos": [f"positive {i}"], "neg": [f"row {i} better", f"row {i} b"]}
        for i in range(8)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    chat = {"base_url": url, "model": "m", "api_key_env": "PYRITE_TEST_KEY", "concurrency": 1}
    settings = {
        "name": "judged",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "data": {"path": str(folder / "train.jsonl")},
        "stages": [{"judge": "chat", "chat": {**chat, "timeout_s": 200}}],
    }
    path = folder / "relabel.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.mark.parametrize("times", [1, 2])
def test_relabelling_pays_for_no_verdict_twice(times: int, tmp_path: Path, server: Server) -> None:
    behaviour = SomeThenNone(3)
    server.default = behaviour
    command: list[str | Path] = [SCRIPT, "relabel", relabelling(tmp_path, server.url)]
    if times == 1:
        # the call under way is paid for: it is waited for and kept
        threading.Thread(target=_let_go_later, args=(behaviour, tmp_path)).start()
    lines = interrupted(command, tmp_path, lambda log: behaviour.asked == 4, times)
    clean(lines, INTERRUPTED if times == 1 else AT_ONCE)
    behaviour.go.set()
    before = behaviour.asked
    behaviour.left = 1000
    again(command, tmp_path)
    assert behaviour.asked - before == 8 - (4 if times == 1 else 3)


def _let_go_later(behaviour: SomeThenNone, folder: Path) -> None:
    log = folder / "stderr.txt"
    stop = time.monotonic() + LIMIT_S
    while time.monotonic() < stop:
        if log.exists() and STOPPING in log.read_text("utf-8"):
            break
        time.sleep(0.02)
    behaviour.go.set()

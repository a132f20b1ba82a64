from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios

import pytest
from cli_setup import in_subprocess

from pyrite.core.progress import ProgressLines, progress
from pyrite.core.terminal import on_terminal

SHOW = "from pyrite.core.progress import progress\nwith progress('a', 3, 'b') as bar: bar.update(3)"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that is moved by hand."""
    now = [0.0]
    monkeypatch.setattr("pyrite.core.progress.time.monotonic", lambda: now[0])
    return now


def lines_of(
    total: int | None, parts: list[int], clock: list[float], step: float = 2.0, initial: int = 0
) -> None:
    with ProgressLines("read", total, "rows", initial) as lines:
        for part in parts:
            clock[0] += step
            lines.update(part)


@pytest.mark.parametrize("total", [7, 10, 1000, 12345])
def test_a_line_at_the_start_at_each_tenth_and_at_the_end(
    total: int, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines_of(total, [1] * total, clock)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"read: {total:,} rows"
    tenths = sorted({10 * n // total for n in range(total + 1)} - {0})
    counts = [next(n for n in range(total + 1) if 10 * n // total >= t) for t in tenths]
    shown = [int(re.findall(r"([\d,]+) of", line)[0].replace(",", "")) for line in said[1:]]
    assert shown == counts
    assert said[-1].startswith(f"read: 100%, {total:,} of {total:,} rows, ")


def test_rate_time_left_and_note(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLines("train", 100, "steps", initial=40) as lines:
        clock[0] = 20.0
        lines.set_postfix_str("loss 1.5")
        lines.update(10)
        clock[0] = 120.0
        lines.update(50)
    assert capsys.readouterr().err.splitlines() == [
        "train: 100 steps, 40 of them done before",
        "train: 50%, 50 of 100 steps, 00:20, 0.5/s, 01:40 left, loss 1.5",
        "train: 100%, 100 of 100 steps, 02:00, 0.5/s, loss 1.5",
    ]


def test_a_quick_stage_has_two_lines(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines_of(50, [1] * 50, clock, step=0.01)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_without_a_total_lines_come_at_every_doubling(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines_of(None, [50_000] * 13, clock)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" rows")[0] for line in said] == [
        "read",
        *(f"read: {n},000" for n in (100, 200, 400, 650)),
    ]


def test_nothing_to_do_is_said_without_a_division(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLines("read", 0, "rows"):
        pass
    assert capsys.readouterr().err.splitlines()[-1].startswith("read: 0%, 0 of 0 rows")


@pytest.mark.parametrize(("ci", "bar"), [(None, True), ("true", False), ("1", False), ("0", True)])
def test_a_bar_on_a_terminal_that_is_not_ci_s(
    ci: str | None, bar: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    assert on_terminal() == bar
    with progress("read", 3, "rows") as shown:
        shown.update(3)
    assert isinstance(shown, ProgressLines) != bar


def test_off_a_terminal_no_line_is_redrawn() -> None:
    outcome = in_subprocess([sys.executable, "-c", SHOW])
    assert outcome.code == 0
    assert "\r" not in outcome.err
    assert len(outcome.err.splitlines()) == 2


def test_a_real_terminal_has_a_bar() -> None:
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 80))
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run([sys.executable, "-c", SHOW], stderr=side, env=environment, check=False)
    shown = os.read(main, 65536)
    os.close(main)
    os.close(side)
    assert done.returncode == 0
    assert b"\ra: 100%" in shown

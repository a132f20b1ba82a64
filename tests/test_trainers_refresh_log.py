from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pyrite.core.errors import PyriteError
from pyrite.trainers.refresh_log import FILE, RefreshLog
from pyrite.trainers.refresh_report import age_line, draw, plot, refresh_table

Row = dict[str, Any]


def dev(step: int, ndcg: float = 0.5) -> Row:
    return {"kind": "dev", "step": step, "ndcg": ndcg}


def swap(step: int, age: int, generation: int = 1, churn: float | None = 0.25) -> Row:
    numbers = {"generation": generation, "age": age, "churn": churn}
    return {"kind": "swap", "step": step, **numbers}


REFUSED = {"kind": "refused", "step": 8, "generation": 2, "reasons": ["é [red] is over 0.1"]}
HISTORY: list[Row] = [
    {"kind": "published", "step": 4},
    {"kind": "generation", "step": 4, "generation": 1, "seconds": 1.5},
    dev(4, 0.41),
    swap(6, 2),
    {"kind": "published", "step": 8},
    {"kind": "generation", "step": 8, "generation": 2, "seconds": 1.25},
    REFUSED,
    dev(8, 0.4),
    {"kind": "stall", "step": 11, "seconds": 0.5},
    dev(12, float("nan")),
    swap(13, 5, 3, None),
    {"kind": "published", "step": 16},
]


def written(folder: Path, rows: list[Row]) -> RefreshLog:
    log = RefreshLog(folder)
    for row in rows:
        log.append(row)
    return log


def test_rows_come_back_in_order_and_numbers_that_are_not_finite_by_name(tmp_path: Path) -> None:
    log = written(tmp_path / "run" / "refresh", HISTORY)
    wanted = [{**r, "ndcg": "nan"} if r["step"] == 12 else r for r in HISTORY]
    assert log.rows() == wanted
    assert RefreshLog(tmp_path / "run" / "refresh").rows() == wanted
    assert RefreshLog(tmp_path / "none").rows() == []
    nested = {**dev(1), "facts": {"a": [float("inf"), 1.5]}}
    log.append(nested)
    assert log.rows()[-1]["facts"] == {"a": ["inf", 1.5]}


@given(cut=st.integers(0, 400))
def test_a_log_cut_off_anywhere_has_its_whole_lines_and_goes_on(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    rows = [dev(1), REFUSED, swap(3, 1), dev(4)]
    path = written(folder, rows).path
    data = path.read_bytes()
    left = data[: min(cut, len(data))]
    path.write_bytes(left)
    whole = left.count(b"\n")
    assert RefreshLog(folder).rows() == rows[:whole]
    log = RefreshLog(folder)
    log.append(dev(9))
    assert log.rows() == [*rows[:whole], dev(9)]
    assert path.read_bytes().endswith(b"\n")


def test_a_torn_line_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, [dev(1), dev(2)]).path
    path.write_bytes(path.read_bytes()[:-5])
    with caplog.at_level(logging.WARNING):
        assert RefreshLog(tmp_path).rows() == [dev(1)]
        assert "the last line was cut off and is left out" in caplog.text
        RefreshLog(tmp_path).append(dev(3))
        assert "the last line was cut off and is removed" in caplog.text
        caplog.clear()
        assert RefreshLog(tmp_path).rows() == [dev(1), dev(3)]
        assert not caplog.records


def test_a_line_that_a_full_disk_cut_off_is_mended_by_the_same_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written(tmp_path, [dev(1)])

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - 7)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            log.append(dev(2))
    log.append(dev(3))
    assert log.rows() == [dev(1), dev(3)]


CHILD = """
import sys
from pathlib import Path
from pyrite.trainers.refresh_log import RefreshLog

log = RefreshLog(Path(sys.argv[1]))
for step in range(10**9):
    log.append({"kind": "dev", "step": step, "ndcg": 0.5})
    print(step, flush=True)
"""


def test_what_was_appended_before_a_kill_is_there(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    told += [int(line) for line in child.stdout.read().splitlines(keepends=True) if "\n" in line]
    child.wait()
    steps = [row["step"] for row in RefreshLog(tmp_path).rows()]
    assert steps == list(range(len(steps)))
    # one more may have been written than told
    assert 0 <= len(steps) - len(told) <= 1
    log = RefreshLog(tmp_path)
    log.append(dev(len(steps)))
    assert [row["step"] for row in log.rows()] == list(range(len(steps) + 1))


@pytest.mark.parametrize("line", ["{", "[]", '{"kind":"dev"}', "\x00\x00", '{"kind":"x"}'])
def test_a_line_that_is_no_row_is_a_mistake(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, [dev(1)]).path
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    RefreshLog(tmp_path).append(dev(3))
    with pytest.raises(PyriteError) as caught:
        RefreshLog(tmp_path).rows()
    assert f"{tmp_path / FILE}: line 2 is no row of a refresh log" in str(caught.value)
    assert "delete this line" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"kind": "swapped", "step": 1}, "no kind among published, generation"),
        ({"kind": "dev", "ndcg": 1.0}, "kind dev without step"),
        ({"kind": "swap", "step": 1, "age": 2}, "kind swap without generation, churn"),
        ({"kind": "published", "step": 1.5}, r"step 1\.5 is no step"),
        ({"kind": "published", "step": -1}, "step -1 is no step"),
    ],
)
def test_a_row_that_is_none_is_a_defect(tmp_path: Path, row: Row, says: str) -> None:
    log = RefreshLog(tmp_path)
    with pytest.raises(ValueError, match=says):
        log.append(row)
    assert not log.path.exists()


@given(steps=st.lists(st.integers(0, 9), max_size=9), to=st.integers(0, 9))
def test_a_rewind_removes_later_steps_and_gives_them_back(
    steps: list[int], to: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = written(folder, [{**dev(step), "at": i, "é": "ü"} for i, step in enumerate(steps)])
    lines = log.path.read_bytes().splitlines(keepends=True) if steps else []
    removed = log.rewind(to)
    assert [row["at"] for row in removed] == [i for i, step in enumerate(steps) if step > to]
    assert [row["at"] for row in log.rows()] == [i for i, step in enumerate(steps) if step <= to]
    kept = [line for line, step in zip(lines, steps, strict=True) if step <= to]
    assert (log.path.read_bytes() if steps else b"") == b"".join(kept)
    assert log.rewind(to) == []
    log.append(dev(to))
    assert log.rows()[-1] == dev(to)


def test_a_swap_that_was_decided_before_stays_whenever_it_comes_into_force(tmp_path: Path) -> None:
    rows = [{**swap(9, 3), "decided": 5}, {**swap(9, 3), "decided": 6}]
    log = written(tmp_path, rows)
    assert log.rewind(5) == rows[1:]
    assert log.rows() == rows[:1]


def test_the_age_grows_by_one_each_step_and_falls_at_a_swap() -> None:
    steps, ages = age_line([swap(6, 2), dev(8), swap(13, 5), dev(16)])
    assert list(zip(steps, ages, strict=True)) == [
        (0, 0),
        (6, 6),
        (6, 2),
        (13, 9),
        (13, 5),
        (16, 8),
    ]
    assert age_line([]) == ([0, 0], [0, 0])


@pytest.mark.parametrize("rows", [HISTORY, HISTORY[:3], []], ids=["all", "no swap", "none"])
def test_the_same_rows_draw_the_same_bytes(tmp_path: Path, rows: list[Row]) -> None:
    log = written(tmp_path, rows)
    for name in ("a.png", "b.png"):
        plot(log, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second
    assert first.startswith(b"\x89PNG")
    for tag in (b"Software", b"tEXt", b"tIME", b"matplotlib"):
        assert tag not in first


def test_each_measure_is_drawn_in_its_own_panel_over_the_same_steps(tmp_path: Path) -> None:
    figure = draw(written(tmp_path, HISTORY).rows())
    measures, ages, churns = figure.axes
    assert measures.lines[0].get_xydata().tolist() == [[4, 0.41], [8, 0.4]]  # type: ignore[union-attr]
    lines = [(line.get_xdata()[0], line.get_linestyle()) for line in measures.lines[1:]]  # type: ignore[index]
    assert lines == [(6, "-"), (8, ":"), (13, "-")]
    sawtooth = [[0, 0], [6, 6], [6, 2], [13, 9], [13, 5], [16, 8]]
    assert ages.lines[0].get_xydata().tolist() == sawtooth  # type: ignore[union-attr]
    assert churns.containers[0].markerline.get_xydata().tolist() == [[6, 0.25]]  # type: ignore[attr-defined]
    assert measures.get_xlim() == ages.get_xlim() == churns.get_xlim()


def test_the_table_says_what_happened(tmp_path: Path) -> None:
    halves = [{"kind": "trained", "step": step, "seconds": 50.0} for step in (10, 16)]
    log = written(tmp_path, HISTORY + halves)
    out = io.StringIO()
    Console(file=out, width=100).print(refresh_table(log))
    cells = {}
    for line in out.getvalue().splitlines():
        name, _, value = line.strip("│┃ ").partition("│")
        cells[name.strip()] = value.strip()
    assert cells["weights published"] == "3"
    assert cells["generations mined"] == "2"
    assert cells["refused"] == "1"
    assert "generation 2: é [red] is over 0.1" in cells
    assert cells["swaps"] == "2"
    assert cells["age in steps, mean (most)"] == "3.5 (5.0)"
    assert cells["churn, mean (most)"] == "0.250 (0.250)"
    assert cells["dev nDCG@10, mean (best)"] == "0.4050 (0.4100)"
    assert cells["not finite, left out"] == "1"
    assert cells["stood still for negatives"] == "0.5 s (0.50% of 100.0 s)"


def test_a_row_is_one_line_of_strict_json(tmp_path: Path) -> None:
    path = written(tmp_path, [{**REFUSED, "note": "two\nlines"}, dev(3, float("-inf"))]).path
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) == 2

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(lines[0], parse_constant=refuse)["note"] == "two\nlines"
    assert json.loads(lines[1], parse_constant=refuse)["ndcg"] == "-inf"

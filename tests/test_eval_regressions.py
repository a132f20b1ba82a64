from __future__ import annotations

import io
import itertools
import json
import re

import numpy as np
import pytest
from compare_setup import evaluated
from fakes import write_dataset
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pyrite.eval.compare import CompareOptions, compare_runs
from pyrite.eval.compare_report import print_report
from pyrite.eval.compare_tables import markdown
from pyrite.eval.plain_text import markdown_cell, plain
from pyrite.eval.regressions import Regressions

# what a dataset may hold: markup of three kinds, an escape sequence, a reversed direction
WILD = "[bold]x[/bold] <script>alert(1)</script> a|b\n`c` \x1b[2J\u202eabc"
CORPUS = {"d1": WILD, "d2": "plain", "d3": "third", "d4": "fourth"}
QUERIES = {"q1": f"first {WILD}", "q2": "second", "q3": "third", "q4": "fourth"}
QRELS = [("q1", "d1", 1), ("q1", "d2", 2), ("q2", "d2", 1), ("q3", "d3", 1), ("q4", "d4", 1)]
RUNS = {
    "old": {"q1": ["d2", "d1"], "q2": ["d2"], "q3": ["d3", "d4"], "q4": ["d1", "d4"]},
    "new": {"q1": ["d3", "d1"], "q2": ["d3", "d2"], "q3": ["d3"], "q4": ["d4"]},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    home = tmp_path_factory.mktemp("regressions")
    data = write_dataset(home / "data", CORPUS, QUERIES, {"test": QRELS})
    return [str(evaluated(home, data, name, ranked)) for name, ranked in RUNS.items()]


@pytest.fixture(scope="module")
def found(folders: list[str]) -> Regressions:
    return compare_runs(folders, CompareOptions(worst=3)).worst[0]


def test_the_greatest_losses_come_first_and_gains_not_at_all(found: Regressions) -> None:
    assert (found.a, found.b, found.measure) == ("new", "old", "ndcg@10")
    assert (found.worse, found.better) == (2, 1)
    # q2 falls from 1 to 0.63, q1 from 1 to 0.24; q3 is alike and q4 gains
    assert [one.query_id for one in found.queries] == ["q1", "q2"]
    losses = [one.difference for one in found.queries]
    assert losses == sorted(losses)
    ideal = 2 + 1 / np.log2(3)
    assert found.queries[0].values == pytest.approx((1 / np.log2(3) / ideal, 1.0))


def test_what_both_found_and_should_have_found_is_there(found: Regressions) -> None:
    one = found.queries[0]
    assert one.query == QUERIES["q1"]
    assert one.top_a is not None
    assert one.top_b is not None
    assert (one.top_a.id, one.top_a.grade, one.top_a.rank_a, one.top_a.rank_b) == (
        "d3",
        None,
        1,
        None,
    )
    assert (one.top_b.id, one.top_b.grade, one.top_b.rank_a, one.top_b.rank_b) == ("d2", 2, None, 1)
    # the best grade first
    positives = [(d.id, d.grade, d.rank_a, d.rank_b) for d in one.positives]
    assert positives == [("d2", 2, None, 1), ("d1", 1, 2, 2)]
    assert one.positives[1].text == WILD


def test_only_as_many_as_were_asked_for(folders: list[str]) -> None:
    worst = compare_runs(folders, CompareOptions(worst=1, measure="mrr@10")).worst[0]
    assert worst.measure == "mrr@10"
    # both halve; of equal losses the first by id
    assert [one.query_id for one in worst.queries] == ["q1"]
    assert (worst.worse, worst.better) == (2, 1)


def test_json_holds_the_whole_texts(folders: list[str]) -> None:
    whole = json.loads(json.dumps(compare_runs(folders, CompareOptions(worst=2)).as_json()))
    assert whole["worst"][0]["queries"][0]["query"] == QUERIES["q1"]
    assert whole["worst"][0]["queries"][0]["positives"][1]["text"] == WILD


def test_a_terminal_shows_texts_as_data(folders: list[str]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=400, force_terminal=True, color_system=None)
    print_report(compare_runs(folders, CompareOptions(worst=2)), console)
    shown = out.getvalue()
    assert "[bold]x[/bold] <script>" in shown
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "greatest losses of new against old, nDCG@10" in shown


def test_markdown_shows_texts_as_data(folders: list[str]) -> None:
    text = markdown(compare_runs(folders, CompareOptions(worst=2)))
    rows = [line for line in text.split("\n") if line.startswith("| ")]
    assert "<script>" not in text
    assert "`c`" not in text
    assert "\x1b" not in text
    for above, row in itertools.pairwise(rows):
        if set(row) <= set("|-: "):
            # a dividing line has the columns of its heading
            assert above.count("|") == row.count("|")
    wild = next(row for row in rows if "first" in row and "alert" in row)
    assert wild.count("|") == 7
    assert "&#60;script&#62;alert&#40;1&#41;" in wild


@given(st.text())
def test_plain_is_one_line_without_control_characters(text: str) -> None:
    found = plain(text)
    assert "\n" not in found
    assert found == found.strip() == " ".join(found.split())
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", found)
    assert plain(found) == found


@given(st.text(), st.integers(1, 20))
def test_a_limit_cuts_and_says_so(text: str, limit: int) -> None:
    whole, cut = plain(text), plain(text, limit)
    assert len(cut) <= limit
    assert cut == whole or (cut.endswith("…") and whole.startswith(cut[:-1]))


@given(st.text())
def test_a_markdown_cell_is_letters_alone(text: str) -> None:
    cell = markdown_cell(text)
    assert not set(cell) & set("<>|`*_[]()~!\\$@\n")
    # entities give the text back
    assert re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), cell) == plain(text)


def test_scripts_that_need_joiners_keep_them() -> None:
    assert plain("می‌خواهم 👩‍👧") == "می‌خواهم 👩‍👧"

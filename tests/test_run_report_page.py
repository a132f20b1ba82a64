"""The page itself: nothing in it but what we wrote, whatever the texts say."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from report_setup import HOSTILE, LONG, texts, whole_run

from pyrite.trainers.run_report.draw import HEIGHT, WIDTH, Axis, draw
from pyrite.trainers.run_report.part import Bars, Intervals, Line, Plot, Table
from pyrite.trainers.run_report.report import report
from pyrite.trainers.run_report.shown import shown, visible

VOID = {"meta", "input", "br"}
NOTHING = Table("none", ["a"], [])


class Reader(HTMLParser):
    """Elements with attributes, the text in each kind, and what was not closed in its turn."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.open: list[str] = []
        self.torn: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.torn.append(tag)

    def handle_data(self, data: str) -> None:
        where = self.open[-1] if self.open else ""
        self.text[where] = self.text.get(where, "") + data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    report(whole_run(folder))
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "runs" / "hostile" / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def test_texts_are_text_and_never_markup(read: Reader, folder: Path) -> None:
    assert (read.torn, read.open) == ([], [])
    tags = [tag for tag, _ in read.elements]
    assert {tag: tags.count(tag) for tag in ("script", "style", "body", "i", "img")} == {
        "script": 1,
        "style": 1,
        "body": 1,
        "i": 0,
        "img": 0,
    }
    # our own bold names and nothing else
    assert tags.count("b") == sum(1 for tag, a in read.elements if tag == "b" and not a)
    everything = "".join(text for where, text in read.text.items() if where != "script")
    for hostile in HOSTILE:
        assert visible(hostile) in everything
    for name in list(texts(folder, "corpus"))[:12]:
        assert name in everything


def test_nothing_is_loaded_or_run_but_our_own(page: str, read: Reader) -> None:
    for tag, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not {"src", "srcset", "style", "action", "formaction"} & set(attributes), tag
        if "href" in attributes:
            assert (attributes["href"] or "").startswith("#")
    assert not re.search(r"url\(|@import|https?://", read.text["style"] + read.text["script"])
    policies = [a["content"] for tag, a in read.elements if a.get("http-equiv")]
    [policy] = policies
    assert policy is not None
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(read.text[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.index("Content-Security-Policy") < page.index("<style")


def test_links_and_names_have_their_elements(read: Reader) -> None:
    ids = [a["id"] for _, a in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in read.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(name) is None or attributes[name] in ids
        if "href" in attributes:
            assert (attributes["href"] or "").removeprefix("#") in ids


def test_every_chart_has_words_and_numbers(read: Reader) -> None:
    tags = [tag for tag, _ in read.elements]
    drawings = [a for tag, a in read.elements if tag == "svg" and a.get("role") == "img"]
    assert len(drawings) == tags.count("figure") == tags.count("figcaption") > 6
    assert all(a["aria-describedby"] for a in drawings)


def test_a_long_text_is_cut_and_its_length_said(page: str) -> None:
    assert f"cut, {len(LONG):,} characters in all" in page
    assert LONG[:1000] not in page


def test_no_path_of_the_machine_but_those_of_the_configuration(page: str, folder: Path) -> None:
    before, _, _ = page.partition('id="config"')
    outside = before.replace(str(folder / "data"), "").replace(str(folder / "cache"), "")
    assert str(folder) not in outside


@given(st.text(), st.integers(0, 50))
@example("a\x00b\u202ec\ufeff\r\n", 50)
@example("\ud800", 5)
def test_what_is_shown_has_no_unseen_mark(text: str, limit: int) -> None:
    found = shown(text, limit)
    assert (found.length, found.cut) == (len(text), len(text) > limit)
    assert text.startswith(found.text)
    seen = visible(found.text)
    assert all(c in "\n\t" or c.isprintable() or ord(c) > 0x7F for c in seen)
    assert not set(seen) & set("\x00\x1b\x7f\u202a\u202e\u2066\u200b\u200f\ufeff\ud800")
    seen.encode()
    assert visible(seen) == seen
    if text.isprintable():
        assert seen == found.text


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e5), st.integers(2, 8), st.booleans())
def test_ticks_are_round_inside_and_apart(
    low: float, span: float, wanted: int, whole: bool
) -> None:
    axis = Axis(low, low + span, 60.0, 500.0)
    ticks = axis.ticks(wanted, whole)
    places = [place for place, _ in ticks]
    assert len(places) <= wanted + 1
    assert all(59.9 <= place <= 500.1 for place in places)
    assert places == sorted(set(places))
    for place, name in ticks:
        value = low + (place - 60) * span / 440
        assert float(name.replace(",", "")) == pytest.approx(value, abs=0.001 * span)
        assert not whole or "." not in name


def numbers_of(path: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", path)]


points = st.lists(st.tuples(st.floats(-5, 5), st.floats(-3, 3)), min_size=0, max_size=9)


@given(points, st.booleans())
def test_drawings_stay_in_their_box(found: list[tuple[float, float]], from_zero: bool) -> None:
    lines = [Line("a", "kept", found), Line("b", "other", found, "stems")]
    plot = Plot("t", "s", "x", "y", lines, NOTHING, [(0.5, "here")], from_zero, (0.0, 1.0))
    drawing = draw(plot)
    for path in drawing.paths:
        assert all(-0.1 <= n <= max(WIDTH, HEIGHT) for n in numbers_of(path["d"]))
    assert all(0 <= dot["x"] <= WIDTH and 0 <= dot["y"] <= HEIGHT for dot in drawing.dots)
    assert [mark["text"] for mark in drawing.marks] == ["here"]


def test_bars_stack_and_intervals_keep_their_side() -> None:
    drawing = draw(Bars("t", "s", "y", ["a", "b"], ["one", "two"], [[3, 0], [1, 2]], NOTHING))
    below, above, alone = sorted(drawing.bars, key=lambda bar: (bar["x"], -bar["y"]))
    assert below["height"] == pytest.approx(3 * above["height"], abs=0.05)
    assert above["y"] + above["height"] == pytest.approx(below["y"], abs=0.05)
    assert alone["height"] == pytest.approx(2 * above["height"], abs=0.05)
    rows = [("up", 0.1, 0.2, 0.3), ("none", -0.1, 0.0, 0.1), ("down", -0.3, -0.2, -0.1)]
    found = draw(Intervals("t", "s", rows, NOTHING)).rows
    assert [row["series"] for row in found] == ["positives", "other", "rejected"]
    assert all(row["low"] < row["middle"] < row["high"] for row in found)

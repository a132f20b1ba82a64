"""The pages of docs/: found from the index, linked rightly, and what they show is there."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
from doc_pages import (
    DOCS,
    FILES,
    KEY,
    LINK,
    LINKED,
    PAGES,
    blocks,
    dead_links,
    headings,
    keys_of,
    kinds,
    known_keys,
    mapping,
    mistakes,
    named,
    one_by_one,
    prose,
)

from pyrite.cli import app
from pyrite.core.config import Section


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_links_and_images_lead_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text("utf-8")) == []


def test_a_dead_link_would_be_noticed() -> None:
    text = "[a](none.md) [b](filters.md#no) [c](#own)\n\n# Own\n\n    [d](code.md)\n`[e](code.md)`"
    assert dead_links(DOCS / "x.md", text) == ["none.md", "filters.md#no", "#own"]


def test_every_page_is_in_the_index_once_and_in_the_list_of_pages() -> None:
    fenced = re.findall(
        r"```\{toctree\}(.*?)```", (DOCS / "index.md").read_text("utf-8"), re.DOTALL
    )
    listed = [line for block in fenced for line in block.splitlines() if re.match(r"[\w/]", line)]
    pages = [page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES]
    assert sorted(listed) == sorted(name for name in pages if name != "index"), "docs/index.md"
    table = LINK.findall((DOCS / "README.md").read_text("utf-8"))
    missing = [name for name in pages if f"{name}.md" not in table]
    assert missing == ["README", "index"], "docs/README.md"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_has_one_title_and_no_heading_jumps(page: Path) -> None:
    levels = [level for level, _ in headings(page.read_text("utf-8"))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_configuration_lines_are_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        for text in one_by_one(block):
            if mapping(text) is not None:
                assert mistakes(text, tmp_path) == [], text


def test_a_wrong_configuration_line_would_be_noticed(tmp_path: Path) -> None:
    (block,) = blocks("Text.\n\n    filters: {percentage: 0.95}\n    sampler: {n: 4}\n\nMore.\n")
    assert mapping(block) is not None
    assert "percentage" in mistakes(block, tmp_path)[0]
    assert mistakes("filters: {percent: 0.95}", tmp_path) == []


def calls(text: str) -> list[list[str]]:
    """The words of each call of the command in a page's blocks."""
    lines = (line.partition(" # ")[0] for block in blocks(text) for line in block.splitlines())
    return [shlex.split(line) for line in lines if line.startswith("pyrite ")]


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_calls_have_verbs_and_overrides_that_are_there(page: Path) -> None:
    verbs = {
        info.name or (info.callback and info.callback.__name__) for info in app.registered_commands
    }
    for _, named_verbs, *arguments in calls(page.read_text("utf-8")):
        assert set(named_verbs.split("|")) <= verbs
        keys = {word.partition("=")[0] for word in arguments if re.match(r"[a-z_.]+=", word)}
        assert {key for key in keys if "." in key} <= known_keys()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_keys_that_a_page_names_are_there(page: Path) -> None:
    tops = {key for key in known_keys() if "." not in key}
    for key in KEY.findall(prose(page.read_text("utf-8"))):
        if key.partition(".")[0] in tops and key.rpartition(".")[2] not in FILES:
            assert key in known_keys()


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_key_says_what_it_is(kind: type[Section]) -> None:
    assert [key for key, description in keys_of(kind) if not description] == []

"""The review page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import (
    chromium,
    complaints,
    contrast,
    opened,
    press,
    requested,
    shows,
    text_of,
    until,
)
from review_setup import HOSTILE, finished_run, people, serving, session_of, started

from pyrite import RelabelConfig
from pyrite.miner.relabel.review.queue import Choice
from pyrite.miner.relabel.review.review import read_answers, write_page

pytestmark = pytest.mark.slow
LEFT, RIGHT, BACKSPACE = "\ue012", "\ue014", "\ue003"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def config(tmp_path: Path) -> RelabelConfig:
    return finished_run(tmp_path)


@pytest.fixture
def calm(browser: Any) -> Iterator[Any]:
    """The browser; fails if the console had anything to say or a text was run."""
    complaints(browser)
    requested(browser)
    yield browser
    assert complaints(browser) == []
    assert browser.execute_script("return window.hacked") is None


def at(driver: Any, number: int) -> None:
    shows(driver, "place", f"pair {number} of ")
    until(
        lambda: driver.execute_script("return !document.body.hasAttribute('aria-busy')"), "a rest"
    )


def test_keys_answer_pairs_and_undo_takes_back(calm: Any, config: RelabelConfig) -> None:
    with session_of(config) as session, serving(session) as server:
        opened(calm, server.url)
        at(calm, 1)
        press(calm, "1")
        at(calm, 2)
        assert people(config) == {"ann": [True]}
        press(calm, "2")
        at(calm, 3)
        press(calm, LEFT)
        at(calm, 2)
        assert people(config) == {"ann": [True]}
        press(calm, " ")
        at(calm, 3)
        press(calm, "k")
        at(calm, 2)
        shows(calm, "status", "Your answer: unsure")
        press(calm, "j")
        at(calm, 3)
        press(calm, RIGHT)
        at(calm, 1)
        shows(calm, "status", "Your answer: relevant")
        # an answer given again is the answer; the page goes on to what is open
        press(calm, "2")
        at(calm, 3)
        press(calm, "1")
        shows(calm, "status", "All pairs are answered.")
        assert text_of(calm, "count") == "3 of 3 answered"
        assert [session.answers(), people(config)["ann"].count(True)] == [
            ["not_relevant", "unsure", "relevant"],
            1,
        ]
        press(calm, BACKSPACE)
        shows(calm, "count", "2 of 3")
        press(calm, BACKSPACE)
        at(calm, 1)
        # an undone change brings back the answer before it
        assert session.answers() == ["relevant", "unsure", None]
        assert set(requested(calm)) <= {
            "data:,",
            server.url,
            f"{server.url}answer",
            *(f"{server.url}pair/{index}" for index in range(3)),
        }


def test_a_reload_goes_on_where_it_stopped(calm: Any, config: RelabelConfig) -> None:
    with session_of(config) as session, serving(session) as server:
        opened(calm, server.url)
        at(calm, 1)
        press(calm, "3")
        at(calm, 2)
        calm.refresh()
        at(calm, 2)
        assert text_of(calm, "count") == "1 of 3 answered"


def test_texts_are_shown_as_texts_with_the_query_s_words_marked(
    calm: Any, config: RelabelConfig
) -> None:
    with session_of(config) as session, serving(session) as server:
        opened(calm, server.url)
        at(calm, 1)
        for name in ("query", "candidate", "judges"):
            assert HOSTILE in text_of(calm, name)
        marks = calm.execute_script(
            "return [...document.querySelectorAll('#candidate mark')].map(m => m.textContent)"
        )
        assert {"gamma", "window", "hacked", "日本語"} <= set(marks)
        assert "T" not in marks
        assert calm.execute_script("return document.images.length") == 0
        assert calm.execute_script("return document.scripts.length") == 2
        # even code that got in could not run
        ran = calm.execute_script(
            "try { const s = document.createElement('script'); s.text = 'window.hacked = 3';"
            " document.body.append(s); return 'ran' } catch { return 'refused' }"
        )
        assert ran == "refused"
        assert [m for m in complaints(calm) if "TrustedScript" not in m] == []


def test_the_mouse_answers_and_the_space_bar_stays_unsure(calm: Any, config: RelabelConfig) -> None:
    with session_of(config) as session, serving(session) as server:
        opened(calm, server.url)
        at(calm, 1)
        calm.find_element("css selector", "[data-answer=relevant]").click()
        at(calm, 2)
        press(calm, " ")
        at(calm, 3)
        assert session.answers() == ["relevant", "unsure", None]


def test_a_server_that_is_gone_saves_nothing_and_says_so(
    browser: Any, tmp_path: Path, config: RelabelConfig
) -> None:
    process, url = started(tmp_path)
    opened(browser, url)
    at(browser, 1)
    process.kill()
    process.communicate(timeout=60)
    press(browser, "1")
    shows(browser, "message", "The server does not answer.")
    assert text_of(browser, "place").startswith("pair 1 of 3,")
    assert text_of(browser, "count") == "0 of 3 answered"
    assert people(config) == {}
    complaints(browser)


def test_a_blind_reviewer_sees_the_judges_after_the_answer(
    calm: Any, config: RelabelConfig
) -> None:
    with session_of(config, blind=True) as session, serving(session) as server:
        opened(calm, server.url)
        at(calm, 1)
        assert text_of(calm, "judges") == "shown once the pair is answered"
        press(calm, "1")
        at(calm, 2)
        press(calm, "k")
        at(calm, 1)
        shows(calm, "judges", "torn about it")


def test_what_another_decides_meanwhile_is_passed_over(calm: Any, config: RelabelConfig) -> None:
    with (
        session_of(config) as session,
        session_of(config, "bob") as bob,
        serving(session) as server,
    ):
        opened(calm, server.url)
        at(calm, 1)
        # the next pair was not fetched before
        bob.answer(1, "relevant")
        press(calm, "1")
        at(calm, 3)
        press(calm, "k")
        at(calm, 2)
        shows(calm, "status", "bob decided this pair meanwhile")


def test_a_written_page_works_from_a_file(calm: Any, tmp_path: Path, config: RelabelConfig) -> None:
    out = tmp_path / "page.html"
    write_page(config, Choice("ann"), False, out, lambda _: None)
    folder = tmp_path / "downloads"
    calm.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
    )
    opened(calm, out.as_uri())
    at(calm, 1)
    assert HOSTILE in text_of(calm, "candidate")
    press(calm, "1")
    at(calm, 2)
    press(calm, "2")
    at(calm, 3)
    press(calm, LEFT)
    at(calm, 2)
    press(calm, "3")
    at(calm, 3)
    calm.refresh()
    at(calm, 3)
    assert text_of(calm, "count") == "2 of 3 answered"
    name = calm.find_element("id", "reviewer")
    name.clear()
    name.send_keys("eve 1 2")
    assert text_of(calm, "count") == "2 of 3 answered"
    calm.find_element("id", "download").click()
    file = folder / "answers-run.jsonl"
    until(lambda: file.exists() and file.read_text("utf-8").endswith("\n"), "the download")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [line["doc_id"] for line in lines] == ["d2.0", "d2.1"]
    assert read_answers(config, file).answers == {"relevant": 1, "unsure": 1}
    assert sorted(people(config)["eve 1 2"], key=str) == [None, True]
    assert {address.partition(":")[0] for address in requested(calm)} <= {"file", "data", "blob"}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 520])
def test_light_and_dark_are_readable(
    dark: bool, width: int, tmp_path: Path, config: RelabelConfig
) -> None:
    with (
        session_of(config) as session,
        serving(session) as server,
        chromium(tmp_path / "profile", width, 860, dark) as driver,
    ):
        opened(driver, server.url)
        at(driver, 1)
        ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(21, 23, 27)") == dark
        for selector in ("#query", "h2", ".hint", "#count", ".none", ".id"):
            assert contrast(driver, selector) >= 4.5, selector
        assert contrast(driver, "mark", "mark") >= 4.5
        assert contrast(driver, "#message", "#message") >= 4.5
        # nothing sticks out at the side, and the long texts scroll in their boxes
        assert driver.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        assert complaints(driver) == []

"""The report in headless Chromium, from file://, light and dark, wide and narrow, by keyboard."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium, complaints, contrast, opened, press, requested, text_of
from cli_setup import write_setup
from report_setup import whole_run

from pyrite import evaluate, load_config, train
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.run_report.report import report

pytestmark = pytest.mark.slow
ESCAPE, ENTER, TAB = "\ue00c", "\ue007", "\ue004"
INKS = ("p", ".note", ".told", ".badge", "header .facts dt", "a", ".glance dd", "figure summary")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(whole_run(tmp_path_factory.mktemp("browser"))).path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def driver(browser: Any, page: Path) -> Iterator[Any]:
    """The page in a light scheme, as if it had just been opened."""
    look(browser, dark=False)
    opened(browser, page.as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get("about:blank")
    complaints(browser)
    requested(browser)


def look(driver: Any, dark: bool) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})


def focused(driver: Any) -> str:
    found = driver.execute_script(
        "const at = document.activeElement; return at.tagName + ' ' + at.textContent"
    )
    return " ".join(str(found).split())


def pixels(driver: Any) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    with image.open(io.BytesIO(driver.get_screenshot_as_png())) as found:
        return np.asarray(found.convert("RGB")).reshape(-1, 3)


def settled(driver: Any, page: Path) -> None:
    """Nothing was said, asked for or run but the page itself."""
    assert complaints(driver) == []
    assert requested(driver) == [page.as_uri()]
    assert driver.execute_script("return window.broken === undefined")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_renders_readably_and_asks_for_nothing(
    driver: Any, page: Path, dark: bool, width: int
) -> None:
    look(driver, dark)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    found = pixels(driver)
    # most of it is ground, and there is ink on it
    assert (np.median(found, axis=0) < 64).all() == dark
    assert (np.median(found, axis=0) > 192).all() != dark
    assert len(np.unique(found, axis=0)) > 50
    line = "return getComputedStyle(document.querySelector('path.line.positives')).stroke"
    wanted = "rgb(111, 208, 140)" if dark else "rgb(27, 120, 55)"
    assert driver.execute_script(line) == wanted
    inside, outside = driver.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    assert inside <= outside == width
    for ink in INKS:
        assert contrast(driver, ink) >= 4.5, ink
    driver.find_element("id", "open-all").click()
    for ink in (".outcome", ".why", ".cut", ".source", ".text"):
        assert contrast(driver, ink) >= 4.5, ink
    assert contrast(driver, ".card[open] .id", ".card[open] > summary") >= 4.5
    settled(driver, page)


def test_the_search_finds_what_is_written_anywhere(driver: Any, page: Path) -> None:
    cards = driver.find_elements("css selector", "details.card")
    texts = [str(card.get_attribute("textContent")).lower() for card in cards]
    assert len(cards) > 25
    press(driver, "/")
    for wanted in ("max_score:", "same text as the positive", "{{ 7 * 7 }} margin", "no such word"):
        press(driver, wanted)
        hits = [all(word in text for word in wanted.split()) for text in texts]
        assert [card.is_displayed() for card in cards] == hits, wanted
        assert text_of(driver, "matches") == f"{sum(hits)} of {len(cards)}"
        press(driver, ESCAPE)
        assert text_of(driver, "matches") == f"{len(cards)} of {len(cards)}"
        press(driver, "/")
    settled(driver, page)


def test_cards_are_walked_and_opened_by_keys(driver: Any, page: Path) -> None:
    cards = driver.find_elements("css selector", "details.card")
    names = [
        " ".join(str(card.find_element("tag name", "summary").get_attribute("textContent")).split())
        for card in cards
    ]
    for keys, at in (("j", 0), ("j", 1), ("jj", 3), ("k", 2), ("kkkk", 0)):
        press(driver, keys)
        assert focused(driver) == f"SUMMARY {names[at]}"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert driver.execute_script(outline) == "solid"
    press(driver, ENTER)
    assert cards[0].get_attribute("open")
    press(driver, "j")
    assert focused(driver) == f"SUMMARY {names[1]}"
    # not while a word is typed
    press(driver, "/", "jk")
    assert driver.find_element("id", "wanted").get_attribute("value") == "jk"
    settled(driver, page)


def test_the_keyboard_reaches_everything_in_turn(driver: Any) -> None:
    driver.execute_script(
        "window.seen = []; addEventListener('focusin', (event) =>"
        " seen.push(`${event.target.tagName} ${event.target.textContent.trim()}`))"
    )
    press(driver, TAB * 150)
    seen = driver.execute_script("return window.seen")
    assert seen[:2] == ["A To the report", "A Mined negatives"]
    for wanted in ("SUMMARY The numbers", "INPUT ", "BUTTON Open all", "BUTTON Close all"):
        assert wanted in seen, seen


def test_it_works_without_its_script(driver: Any, page: Path) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    opened(driver, page.as_uri())
    try:
        assert not driver.find_element("id", "finder").is_displayed()
        card = driver.find_element("css selector", "details.card")
        card.find_element("tag name", "summary").click()
        assert card.get_attribute("open")
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_it_prints_without_what_is_for_the_screen_and_nothing_moves(driver: Any) -> None:
    moving = (
        "return [...document.querySelectorAll('*')].map((e) => getComputedStyle(e))"
        ".filter((style) => style.scrollBehavior != 'auto' || style.animationName != 'none'"
        " || style.transitionDuration != '0s').length"
    )
    assert driver.execute_script(moving) == 0
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    for name in ("#finder", "nav", "footer"):
        assert not driver.find_element("css selector", name).is_displayed()
    assert driver.find_element("css selector", "figure").is_displayed()


def test_a_run_that_was_trained_and_refreshed_is_shown_whole(tmp_path: Path) -> None:
    refresh = {"mode": "sync", "every_steps": 2}
    path = write_setup(tmp_path, refresh=refresh, train={"steps": 10, "batch_size": 8})
    config = load_config(TrainConfig, path)
    train(config)
    evaluate(config)
    done = report(config.run_folder, 5)
    assert list(done.numbers) == [
        "mining",
        "margin",
        "training",
        "refresh",
        "evaluation",
        "audit",
        "cost",
    ]
    assert [sentence.partition(":")[0] for sentence in done.missing] == ["Relabelling"]
    assert done.numbers["refresh"]["generations"]
    assert done.numbers["training"]["models"]["mined"]["steps"] == 10
    with chromium(tmp_path / "profile") as driver:
        opened(driver, done.path.as_uri())
        assert driver.title == "toy – Pyrite report"  # noqa: RUF001
        settled(driver, done.path)

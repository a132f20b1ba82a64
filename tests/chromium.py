"""A headless Chromium that talks to nobody but the page under test."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_PATIENCE_S = 20.0


@contextmanager
def chromium(
    profile: Path, width: int = 1280, height: int = 860, dark: bool = False
) -> Iterator[Any]:
    """A driver with a new profile; skips the test, with the reason, where there is no browser."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver_path = shutil.which("chromedriver")
    if browser is None or driver_path is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    size = f"--window-size={width},{height}"
    for flag in (*_FLAGS, *scheme, size, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    downloads = {"download.default_directory": str(profile / "downloads")}
    options.add_experimental_option("prefs", downloads)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver_path)
    )
    try:
        # the browser's own start page is none of the tests' business
        driver.get("about:blank")
        complaints(driver)
        requested(driver)
        yield driver
    finally:
        driver.quit()


def opened(driver: Any, address: str) -> None:
    """Open a page and wait for all of it: under load `get` was seen to return from half a page."""
    driver.get(address)
    whole = "return document.readyState === 'complete' && location.href !== 'about:blank'"
    until(lambda: driver.execute_script(whole), f"the whole of {address}")


def complaints(driver: Any) -> list[str]:
    """What the console has to say since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requested(driver: Any) -> list[str]:
    """The addresses that the page asked for since the last call."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return found


def press(driver: Any, *keys: str) -> None:
    """Press keys with nothing in particular in focus."""
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


def text_of(driver: Any, name: str) -> str:
    """The text of the element with this id, as it stands in the page."""
    return str(
        driver.execute_script("return document.getElementById(arguments[0]).textContent", name)
    )


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fails with what was waited for."""
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def shows(driver: Any, name: str, part: str) -> None:
    """Wait until the element with this id holds `part`."""
    until(lambda: part in text_of(driver, name), f"{part!r} in #{name}: {text_of(driver, name)!r}")


def luminance(colour: str) -> float:
    """The relative luminance of a computed colour such as rgb(1, 2, 3), from 0 to 1 (WCAG 2)."""
    parts: Sequence[str] = colour[colour.index("(") + 1 : colour.index(")")].split(",")
    linear = []
    for part in parts[:3]:
        value = float(part) / 255
        linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(driver: Any, selector: str, ground: str = "body") -> float:
    """The contrast of an element's ink with the ground of another, from 1 to 21."""
    ink, behind = driver.execute_script(
        "const style = (s) => getComputedStyle(document.querySelector(s));"
        "return [style(arguments[0]).color, style(arguments[1]).backgroundColor]",
        selector,
        ground,
    )
    low, high = sorted((luminance(ink), luminance(behind)))
    return (high + 0.05) / (low + 0.05)

"""The page as one HTML file: it loads nothing, no text is markup, same parts give same bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from .draw import draw
from .part import Bars, Intervals, Part, Plot
from .sample import Card
from .shown import visible

_FOLDER = "page"


@dataclass(frozen=True, slots=True)
class Group:
    """Sampled queries under a heading."""

    name: str
    title: str
    notes: Sequence[str]
    cards: Sequence[Card]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the page says."""

    name: str
    facts: Sequence[tuple[str, str]]
    parts: Sequence[Part]
    groups: Sequence[Group]
    missing: Sequence[str]
    config: str


def html(page: Page) -> str:
    """The page; all that is not ours is escaped by the template."""
    environment = Environment(
        loader=PackageLoader(__package__ or "", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["draw"] = draw
    environment.tests["plot"] = lambda chart: isinstance(chart, Plot)
    environment.tests["bars"] = lambda chart: isinstance(chart, Bars)
    environment.tests["intervals"] = lambda chart: isinstance(chart, Intervals)
    style, script = _file("report.css"), _file("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template("report.html")
    return template.render(page=page, policy=policy, style=style, script=script)


def _plain(value: object) -> object:
    # what the template has made has marks of its own
    return value if hasattr(value, "__html__") or not isinstance(value, str) else visible(value)


def _file(name: str) -> str:
    return (files(__package__) / _FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

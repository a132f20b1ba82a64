"""Texts and numbers as a page shows them: cut with their length said, invisible marks made seen."""

from __future__ import annotations

import re
from dataclasses import dataclass

# what a browser drops or obeys in place of showing it: controls, halves of surrogate pairs, and
# marks that turn the direction of what follows or hide in a text
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\ufff9-\uffff]"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """The beginning of a text; `length` is that of the whole, in characters."""

    text: str
    length: int
    cut: bool


def shown(text: str, limit: int) -> Shown:
    """At most `limit` characters of a text."""
    return Shown(text[:limit], len(text), len(text) > limit)


def visible(text: str) -> str:
    """The text with marks that no one sees written out, as ⟨U+202E⟩; line ends and tabs stay.

    The page does so with everything that it prints.
    """
    plain = text.replace("\r\n", "\n")
    return _UNSEEN.sub(lambda mark: f"⟨U+{ord(mark.group()):04X}⟩", plain)


def count(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,.0f}"


def share(part: float, whole: float) -> str:
    """A percentage, or a dash of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def seconds(value: float) -> str:
    """A time as a person reads it."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def size(count_of_bytes: float) -> str:
    """A file's size."""
    kib = count_of_bytes / 1024
    return f"{kib:,.0f} KiB" if kib < 1024 else f"{kib / 1024:,.1f} MiB"

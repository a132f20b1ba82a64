"""Texts of a dataset in tables that people read: they are data, never markup."""

from __future__ import annotations

import unicodedata

# letters that mean something to Markdown or to HTML
_MARKDOWN = {ord(c): f"&#{ord(c)};" for c in "&<>|`*_[]()~#!\\$:@"}
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
# joiners and the soft hyphen: part of how words are written
_JOINERS = "\u200c\u200d\u00ad"


def plain(text: str, limit: int | None = None) -> str:
    """One line: white space collapsed, control and format characters as U+FFFD, cut at `limit`.

    Escape sequences would steer a terminal, and marks of direction would reorder what stands
    beside the text.
    """
    line = " ".join(text.split())
    line = "".join("\ufffd" if _hidden(c) else c for c in line)
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def _hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS


def markdown_cell(text: str) -> str:
    """`plain(text)` so that a Markdown table shows it letter by letter, HTML included."""
    return plain(text).translate(_MARKDOWN)

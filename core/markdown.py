"""Text that somebody wrote, quoted so that none of it acts as Markdown."""

from __future__ import annotations

import re


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any that the text holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def quoted(text: str) -> str:
    """One line as code, whatever it holds."""
    line = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def bullets(facts: dict[str, str]) -> str:
    """A list of names and quoted values."""
    return "\n".join(f"- {name}: {quoted(value)}" for name, value in facts.items())

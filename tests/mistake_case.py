"""One mistake of a user, and how files are spoilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A good setup spoilt in one place, and what the sentence about it must hold.

    `TMP` in overrides and sentence stands for the setup's folder.
    """

    says: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    spoil: Callable[[Path], object] | None = None
    verb: str = "mine"
    broken: str = ""  # a known fault of the library: the test must fail until it is mended


def put(name: str, content: str | bytes) -> Callable[[Path], object]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw)


def add(name: str, line: str | bytes) -> Callable[[Path], object]:
    raw = line.encode() if isinstance(line, str) else line
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + raw + b"\n")


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()

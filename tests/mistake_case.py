"""One mistake of a user."""

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

"""The store of generations: immutable folders, a pointer to the latest adopted, and removal."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.digest import digest_json
from ..core.errors import PyriteError
from ..core.store import Manifest, discard, write_json
from .refresh_home import CURRENT, RefreshHome
from .weights import Weights

logger = logging.getLogger(__name__)

SCHEMA = 1
# what of a manifest is read before the digests of the files are compared
_KINDS: dict[str, type] = {
    "training": str,
    "step": int,
    "weights": str,
    "adopted": bool,
    "reason": str,
    "reasons": list,
    "measured": dict,
    "seconds": float,
    "files": dict,
}


@dataclass(frozen=True, slots=True)
class Generation:
    """One published generation: negatives mined with the weights of `step`."""

    folder: Path
    number: int
    manifest: Manifest

    @property
    def step(self) -> int:
        return int(self.manifest.data["step"])

    @property
    def adopted(self) -> bool:
        return bool(self.manifest.data["adopted"])

    @property
    def reason(self) -> str:
        """Why it was refused; empty if it was adopted."""
        return str(self.manifest.data["reason"])

    @property
    def key(self) -> str:
        """Digest of its files."""
        return digest_json(self.manifest.data["files"])

    def measured(self, name: str) -> Any:
        """What its manifest says of a measurement, or None."""
        return self.manifest.data["measured"].get(name)


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of one training; those of another one in the same folder are not seen."""

    home: RefreshHome
    training: str

    def folder(self, number: int) -> Path:
        """Where a generation lies."""
        return self.home.generations / f"{number:06d}"

    def get(self, number: int) -> Generation | None:
        """A generation whose manifest is there, or None; its files are not read."""
        folder = self.folder(number)
        try:
            manifest = Manifest.read(folder)
        except PyriteError as error:
            logger.warning("%s", error)
            return None
        if manifest is None:
            return None
        if not _is_whole(manifest.data):
            logger.warning("%s: the manifest is damaged, and the generation left out", folder)
            return None
        if manifest.data["training"] != self.training:
            return None
        return Generation(folder, number, manifest)

    def all(self) -> list[Generation]:
        """Those that are there, in the order of their weights' steps, then of their numbers."""
        found = (self.get(number) for number in self.numbers())
        there = [generation for generation in found if generation is not None]
        return sorted(there, key=lambda generation: (generation.step, generation.number))

    def of_weights(self, weights: Weights) -> Generation | None:
        """The whole generation that was mined with these weights, or None."""
        for generation in reversed(self.all()):
            data = generation.manifest.data
            if (data["step"], data["weights"]) == (weights.step, weights.key):
                return generation if generation.manifest.intact(generation.folder) else None
        return None

    def last_adopted(self, before: int) -> Generation | None:
        """The latest whole one that was adopted, of weights from before a step."""
        found = (g for g in reversed(self.all()) if g.adopted and g.step < before)
        return next((g for g in found if g.manifest.intact(g.folder)), None)

    def next_number(self) -> int:
        """A number that no folder has, whatever is in it."""
        return 1 + max(self.numbers(), default=0)

    def point_to(self, generation: Generation) -> None:
        """Make an adopted generation the current one, unless a later one is."""
        current = self._current()
        if current is None or current[1] <= generation.step:
            content = {"generation": generation.number, "step": generation.step}
            write_json(self.home.folder / CURRENT, content)

    def remove(self, needed: set[int], keep: int) -> list[int]:
        """Remove all but the current one, the `needed` and the `keep` latest others.

        Returns the numbers of those that went.
        """
        current = self._current()
        needed = needed | ({current[0]} if current else set())
        free = [number for number in self.numbers() if number not in needed]
        gone = free[: max(0, len(free) - keep)]
        for number in gone:
            discard(self.folder(number))
            shutil.rmtree(self.folder(number), ignore_errors=True)
        return gone

    def _current(self) -> tuple[int, int] | None:
        try:
            found = self.home.read(CURRENT)
            return None if found is None else (int(found["generation"]), int(found["step"]))
        except (PyriteError, KeyError, TypeError, ValueError):
            # it decides nothing but what is removed, and the next generation writes it anew
            logger.warning("%s: damaged, and left out", self.home.folder / CURRENT)
            return None

    def numbers(self) -> list[int]:
        """Numbers of all folders, in ascending order, whatever is in them."""
        return sorted(int(p.name) for p in self.home.generations.glob("*") if p.name.isdigit())


def _is_whole(data: object) -> bool:
    if not isinstance(data, dict) or not all(
        isinstance(data.get(name), kind) for name, kind in _KINDS.items()
    ):
        return False
    entries = (entry.items() if isinstance(entry, dict) else () for entry in data["files"].values())
    kinds = ({name: type(value) for name, value in items} for items in entries)
    return all(found == {"bytes": int, "digest": str} for found in kinds)

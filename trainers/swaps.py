"""Which generation a training took, and when: read again by the run after a kill."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..core.store import write_json
from .refresh_home import SWAPS, RefreshHome


@dataclass(frozen=True, slots=True)
class Swap:
    """`generation` was taken after step `decided`, and is in force from step `since` on."""

    generation: int
    decided: int
    since: int


class Swaps:
    """The swaps of a training in the order of their steps, in `swaps.json`."""

    def __init__(self, home: RefreshHome) -> None:
        self._home = home
        self._known = [Swap(**row) for row in home.read(SWAPS) or []]

    def record(self, swap: Swap) -> None:
        """Keep a swap before it comes into force; the same one twice is kept once."""
        if swap not in self._known:
            self.forget(swap.decided - 1)
            self._known.append(swap)
            self._write()

    def forget(self, step: int) -> None:
        """Leave out what was decided after `step`."""
        left = [swap for swap in self._known if swap.decided <= step]
        if left != self._known:
            self._known = left
            self._write()

    def at(self, step: int) -> Swap | None:
        """What was decided after `step` before a kill, if anything was."""
        return next((swap for swap in self._known if swap.decided == step), None)

    @property
    def last(self) -> int:
        """The last step after which something was decided; -1: none."""
        return self._known[-1].decided if self._known else -1

    def after(self, step: int) -> set[int]:
        """Generations that were taken after `step`."""
        return {swap.generation for swap in self._known if swap.decided > step}

    def _write(self) -> None:
        write_json(self._home.folder / SWAPS, [asdict(swap) for swap in self._known])

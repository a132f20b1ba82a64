"""What a run that pays for answers ends with: `relabel`, `make`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .estimate import StageEstimate


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished, stopped or only estimated run.

    `stopped` says why and what is left; `estimates` are there for a dry run alone.
    """

    folder: Path
    report: dict[str, Any]
    spent: dict[str, Any]
    stopped: str | None = None
    estimates: tuple[StageEstimate, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        if self.estimates:
            return {"estimate": [one.as_json() for one in self.estimates]}
        return {"report": self.report, "spent": self.spent, "stopped": self.stopped}

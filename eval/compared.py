"""What a comparison of finished evaluations found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .finished_runs import Systems
from .incomplete import Incomplete
from .paired_tests import weights
from .regressions import Regressions
from .seeds import spread
from .significance import Comparison
from .slices import Slicing
from .stability import Stability
from .unjudged import Unjudged, Verdicts


@dataclass(frozen=True, slots=True)
class Compared:
    """Everything that was asked for."""

    systems: Systems
    comparisons: list[Comparison]
    slicings: list[Slicing]
    worst: list[Regressions]
    incomplete: Incomplete | None
    stability: Stability | None
    verdicts: Verdicts | None
    unjudged: Unjudged | None

    def means(self, name: str) -> dict[str, float]:
        """Means of one system over queries and seeds."""
        size = len(self.systems.query_ids)
        weight = weights(size, self.systems.strata_Q)
        return {m: float(v.mean(axis=0) @ weight) for m, v in self.systems.values[name].items()}

    def spreads(self, name: str) -> dict[str, float | None]:
        """Standard deviations over one system's seeds; None for one seed."""
        return {m: spread(v, self.systems.strata_Q) for m, v in self.systems.values[name].items()}

    def seeds(self, name: str) -> int:
        """How many seeds a system has."""
        return len(next(iter(self.systems.values[name].values())))

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        found: dict[str, Any] = {
            "datasets": self.systems.datasets,
            "queries": len(self.systems.query_ids),
            "systems": {
                name: {
                    "seeds": self.seeds(name),
                    "measures": self.means(name),
                    "sd_over_seeds": self.spreads(name),
                }
                for name in self.systems.values
            },
            "comparisons": [one.as_json() for one in self.comparisons],
            "slices": [one.as_json() for one in self.slicings],
            "worst": [one.as_json() for one in self.worst],
        }
        if self.incomplete is not None:
            found["incomplete"] = self.incomplete.as_json()
        if self.stability is not None:
            found["stability"] = self.stability.as_json()
        if self.verdicts is not None:
            names = ("relevant", "irrelevant", "unknown")
            found["verdicts"] = {name: getattr(self.verdicts, name) for name in names}
        if self.unjudged is not None:
            found["unjudged"] = {
                "path": str(self.unjudged.path),
                "pairs": self.unjudged.pairs,
                "judge": self.unjudged.command,
            }
        return found

"""How far two judges agree: the confusion table of what both decided, and Cohen's kappa.

Cohen, "A coefficient of agreement for nominal scales", 1960.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


def cohen_kappa(table: Sequence[Sequence[int]]) -> float:
    """`(p_o - p_e) / (1 - p_e)` of a square table of counts, at most 1.

    nan where it is undefined: for an empty table, and where chance alone agrees always.
    """
    total = sum(map(sum, table))
    if not total:
        return math.nan
    agreed = sum(table[at][at] for at in range(len(table)))
    rows = [sum(row) for row in table]
    columns = [sum(column) for column in zip(*table, strict=True)]
    # in whole numbers: no rounding decides whether chance agrees always
    by_chance = sum(a * b for a, b in zip(rows, columns, strict=True))
    if by_chance == total * total:
        return math.nan
    return float(agreed * total - by_chance) / float(total * total - by_chance)


@dataclass(slots=True)
class Agreement:
    """Verdicts of two judges on the same pairs: `table[first][second]`, 1 meaning false negative.

    `undecided`: pairs that one of both did not decide, which are not in the table.
    """

    first: str
    second: str
    table: list[list[int]] = field(default_factory=lambda: [[0, 0], [0, 0]])
    undecided: int = 0

    def add(self, first: bool | None, second: bool | None) -> None:
        """Count a pair."""
        if first is None or second is None:
            self.undecided += 1
        else:
            self.table[first][second] += 1

    @property
    def kappa(self) -> float:
        return cohen_kappa(self.table)

    def as_json(self) -> dict[str, Any]:
        """Counts by name; kappa is null where it is undefined."""
        (both_clean, second_only), (first_only, both) = self.table
        return {
            "first": self.first,
            "second": self.second,
            "both_clean": both_clean,
            "only_second": second_only,
            "only_first": first_only,
            "both": both,
            "undecided": self.undecided,
            "kappa": None if math.isnan(self.kappa) else self.kappa,
        }

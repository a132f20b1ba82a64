"""What a report is made of: parts with facts, charts, tables, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Series = Literal["positives", "kept", "rejected", "other"]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of words and numbers; `left` columns from the left are words, the others numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) of one series; `kind` says how they are drawn."""

    name: str
    series: Series
    points: Sequence[tuple[float, float]]
    kind: Literal["line", "area", "dots", "stems"] = "line"


@dataclass(frozen=True, slots=True)
class Plot:
    """Series over a common axis; `summary` says in words what one sees, `table` has the numbers.

    `marks` are named places on the x axis, which covers `span` in any case.
    """

    title: str
    summary: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    table: Table
    marks: Sequence[tuple[float, str]] = ()
    from_zero: bool = True
    span: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars: `values[series][bar]` for the `names` of series and of bars."""

    title: str
    summary: str
    y_label: str
    bars: Sequence[str]
    series: Sequence[str]
    values: Sequence[Sequence[float]]
    table: Table


@dataclass(frozen=True, slots=True)
class Intervals:
    """Differences with their 95% intervals, beside zero: rows of (name, low, middle, high)."""

    title: str
    summary: str
    rows: Sequence[tuple[str, float, float, float]]
    table: Table


Chart = Plot | Bars | Intervals


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a report.

    `numbers` is what `--json` prints; `headlines` are the few facts that stand at the top of the
    page. A `wide` table has a line of its own.
    """

    name: str
    title: str
    lead: Sequence[str]
    numbers: dict[str, Any]
    headlines: Sequence[tuple[str, str]] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = field(default_factory=tuple)

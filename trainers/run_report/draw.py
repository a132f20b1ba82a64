"""Charts as geometry for SVG: places in a fixed box, from which the template makes elements.

Colours are the style sheet's, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .part import Bars, Chart, Intervals, Plot

WIDTH, HEIGHT = 560.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 26.0, 18.0, 46.0
_ROW = 34.0
Tick = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from `low` to `high` over the places `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 2)

    def ticks(self, wanted: int = 5, whole: bool = False) -> list[Tick]:
        """About `wanted` round values with their places."""
        step = _round_step((self.high - self.low) / wanted)
        step = max(step, 1.0) if whole else step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        values = [number * step for number in range(first, last + 1)]
        return [(self.at(v), f"{v:,.{digits}f}") for v in values]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(n for n in (1, 2, 5, 10) if step <= n * power * (1 + 1e-9))


@dataclass(frozen=True, slots=True)
class Drawing:
    """Elements of an SVG of `width` x `height`; each is a dictionary that the template reads."""

    height: float = HEIGHT
    width: float = WIDTH
    x_ticks: Sequence[Tick] = ()
    y_ticks: Sequence[Tick] = ()
    paths: Sequence[dict[str, str]] = ()
    dots: Sequence[dict[str, Any]] = ()
    bars: Sequence[dict[str, Any]] = ()
    marks: Sequence[dict[str, Any]] = ()
    rows: Sequence[dict[str, Any]] = ()
    legend: Sequence[tuple[str, str]] = ()
    box: tuple[float, float, float, float] = field(
        default=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    )


def draw(chart: Chart) -> Drawing:
    """The geometry of a chart."""
    if isinstance(chart, Plot):
        return _plot(chart)
    return _bars(chart) if isinstance(chart, Bars) else _intervals(chart)


def _plot(chart: Plot) -> Drawing:
    xs = [x for line in chart.lines for x, _ in line.points] + [x for x, _ in chart.marks]
    xs += chart.span or ()
    ys = [y for line in chart.lines for _, y in line.points]
    across = _axis(xs, LEFT, WIDTH - RIGHT)
    under = 0.0 if chart.from_zero else 0.06
    up = _axis([*ys, 0.0] if chart.from_zero else ys, HEIGHT - BOTTOM, TOP, under, 0.06)
    paths: list[dict[str, str]] = []
    dots: list[dict[str, Any]] = []
    for line in chart.lines:
        places = [(across.at(x), up.at(y)) for x, y in line.points]
        if line.kind in ("line", "area") and places:
            path = "M" + "L".join(f"{x} {y}" for x, y in places)
            if line.kind == "area":
                floor = up.at(max(up.low, 0.0))
                shape = f"{path}L{places[-1][0]} {floor}L{places[0][0]} {floor}Z"
                paths.append({"series": line.series, "kind": "area", "d": shape})
            paths.append({"series": line.series, "kind": "line", "d": path})
        if line.kind == "stems":
            stems = "".join(f"M{x} {up.at(0.0)}V{y}" for x, y in places)
            paths.append({"series": line.series, "kind": "line", "d": stems})
        if line.kind in ("dots", "stems"):
            dots += [{"x": x, "y": y, "series": line.series} for x, y in places]
    whole = all(float(x).is_integer() for x in xs) and max(xs, default=0) > 4
    return Drawing(
        x_ticks=across.ticks(whole=whole),
        y_ticks=up.ticks(),
        paths=paths,
        dots=dots,
        marks=_marks(across, chart.marks),
        legend=list(dict.fromkeys((line.series, line.name) for line in chart.lines)),
    )


def _marks(across: Axis, marks: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    """Upright lines; each name is written once, and below the names before it."""
    found: list[dict[str, Any]] = []
    known: list[str] = []
    for x, name in marks:
        place = across.at(x)
        # a name in the right half is written to the left of its mark
        left = place > (LEFT + WIDTH) / 2
        beside = {"anchor": "end", "shift": -5} if left else {"anchor": "start", "shift": 5}
        text = "" if name in known else name
        found.append({"x": place, "text": text, "down": 12 + 16 * len(known), **beside})
        known += [text] if text else []
    return found


def _axis(
    values: Iterable[float], start: float, stop: float, below: float = 0.0, above: float = 0.0
) -> Axis:
    """An axis over the values, with so much room at its ends, as shares of their range."""
    found = [v for v in values if math.isfinite(v)]
    low, high = min(found, default=0.0), max(found, default=1.0)
    if low == high:
        low, high = (0.0, high) if high > 0 else (low - 1.0, low + 1.0)
    span = high - low
    return Axis(low - below * span, high + above * span, start, stop)


def _bars(chart: Bars) -> Drawing:
    sums = [sum(series[at] for series in chart.values) for at in range(len(chart.bars))]
    up = _axis([*sums, 0.0], HEIGHT - BOTTOM, TOP, above=0.06)
    slot = (WIDTH - RIGHT - LEFT) / max(len(chart.bars), 1)
    bars: list[dict[str, Any]] = []
    ticks: list[Tick] = []
    for at, name in enumerate(chart.bars):
        ticks.append((round(LEFT + (at + 0.5) * slot, 2), name))
        below = 0.0
        for number, series in enumerate(chart.values):
            top, bottom = up.at(below + series[at]), up.at(below)
            place = {"x": round(LEFT + (at + 0.14) * slot, 2), "y": top}
            extent = {"width": round(0.72 * slot, 2), "height": round(bottom - top, 2)}
            if series[at]:
                bars.append({**place, **extent, "series": f"s{number % 6}"})
            below += series[at]
    legend = [(f"s{at % 6}", name) for at, name in enumerate(chart.series)]
    return Drawing(x_ticks=ticks, y_ticks=up.ticks(), bars=bars, legend=legend)


def _intervals(chart: Intervals) -> Drawing:
    left, top = 176.0, 12.0
    height = top + _ROW * len(chart.rows) + BOTTOM
    values = [v for _, low, _, high in chart.rows for v in (low, high)]
    across = _axis([*values, 0.0], left, WIDTH - RIGHT, 0.04, 0.04)
    rows = [
        {
            "name": name,
            "y": round(top + (at + 0.5) * _ROW, 2),
            "low": across.at(low),
            "middle": across.at(middle),
            "high": across.at(high),
            "series": "other" if low <= 0 <= high else ("positives" if low > 0 else "rejected"),
        }
        for at, (name, low, middle, high) in enumerate(chart.rows)
    ]
    return Drawing(
        height=height,
        x_ticks=across.ticks(4),
        rows=rows,
        marks=[{"x": across.at(0.0), "text": "", "anchor": "start", "shift": 0, "down": 0}],
        box=(left, top, WIDTH - RIGHT, height - BOTTOM),
    )

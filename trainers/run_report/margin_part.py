"""The margin curve: how many candidates and negatives a margin below the positive would leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.candidates import STRUCTURAL
from ..run_config import TrainConfig
from .mined_rows import Listed, MinedRows
from .part import Line, Part, Plot, Table
from .shown import count, number

_POINTS = 60
_SHOWN = 6


def margin_part(config: TrainConfig, rows: MinedRows, listed: Listed | str) -> Part:
    """Shares with `s < s_pos - margin` over a range of margins, on raw scores."""
    gaps = rows.pos_scores[rows.row_of].astype(np.float64) - rows.numbers("scores")
    gaps = gaps[np.isfinite(gaps)]
    margins = _grid(gaps)
    drawn = _over(gaps, margins)
    numbers: dict[str, Any] = {
        "margins": [round(float(m), 6) for m in margins],
        "negatives": {"count": int(gaps.size), "left": _shares(drawn, gaps.size)},
    }
    lines = [_line("negatives", "kept", margins, drawn / max(gaps.size, 1))]
    notes = []
    if isinstance(listed, Listed):
        left, total = _of_candidates(listed, rows.pos_scores, margins)
        numbers["candidates"] = {"count": total, "left": _shares(left, total)}
        lines.append(_line("candidates", "other", margins, left / max(total, 1)))
    else:
        notes.append(f"Only drawn negatives are shown: {listed}.")
    marks = _marks(config, rows)
    numbers["marks"] = {name: round(value, 6) for value, name in marks}
    if config.filters.calibrate != "none":
        notes.append(
            f"The filters see scores calibrated by {config.filters.calibrate}; this curve is of raw"
            " scores."
        )
    lead = [
        "Of all that is no positive, copy or padding: the share that scores below its query's"
        " positive by more than the margin. Where the curve of the candidates is steep, a small"
        " change of filters.margin or filters.percent changes much."
    ]
    plot = Plot(
        "What a margin would leave",
        _summary(numbers),
        "margin below the positive's score",
        "share left",
        lines,
        _table(numbers),
        marks,
    )
    return Part("margin", "Margin curve", lead, numbers, charts=[plot], notes=notes)


def _grid(gaps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = np.quantile(gaps, [0.01, 0.99]) if gaps.size else (0.0, 1.0)
    low = min(0.0, float(low))
    return np.linspace(low, max(float(high), low + 0.05), _POINTS)


def _over(
    gaps: npt.NDArray[np.float64], margins: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """How many gaps are over each margin."""
    below = np.searchsorted(np.sort(gaps), margins, side="right")
    return np.asarray(gaps.size - below, dtype=np.float64)


def _of_candidates(
    listed: Listed, pos_scores_R: npt.NDArray[np.float32], margins: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], int]:
    left, total = np.zeros(margins.size), 0
    for part, block, reasons in listed.blocks():
        real = (reasons & np.uint16(STRUCTURAL)) == 0
        gaps = (pos_scores_R[part, None].astype(np.float64) - block.scores)[real]
        left += _over(gaps, margins)
        total += int(gaps.size)
    return left, total


def _shares(left: npt.NDArray[np.float64], total: int) -> list[float]:
    return [round(float(value) / max(total, 1), 6) for value in left]


def _line(
    name: str,
    series: Any,
    margins: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
) -> Line:
    return Line(name, series, list(zip(margins.tolist(), shares.tolist(), strict=True)))


def _marks(config: TrainConfig, rows: MinedRows) -> list[tuple[float, str]]:
    """The configured margin, and what the configured percent is on average."""
    if config.filters.calibrate != "none":
        return []
    marks = []
    if config.filters.margin is not None:
        marks.append((config.filters.margin, f"margin {config.filters.margin:g}"))
    percent = config.filters.percent
    if percent is not None and percent < 1:
        mean = float(np.abs(rows.pos_scores.astype(np.float64)).mean()) * (1 - percent)
        marks.append((mean, f"percent {percent:g} (mean)"))
    return marks


def _summary(numbers: dict[str, Any]) -> str:
    parts = []
    for name in ("candidates", "negatives"):
        if name in numbers:
            zero = int(np.argmin(np.abs(np.asarray(numbers["margins"]))))
            left = numbers[name]["left"]
            parts.append(
                f"{100 * left[zero]:.1f}% of {count(numbers[name]['count'])} {name} at margin 0 and"
                f" {100 * left[-1]:.1f}% at {numbers['margins'][-1]:.3f}"
            )
    return f"Left are {'; '.join(parts)}."


def _table(numbers: dict[str, Any]) -> Table:
    names = [name for name in ("candidates", "negatives") if name in numbers]
    places = np.linspace(0, _POINTS - 1, _SHOWN).round().astype(int).tolist()
    rows = [
        [number(numbers["margins"][at], 3)]
        + [f"{100 * numbers[name]['left'][at]:.1f}%" for name in names]
        for at in places
    ]
    return Table("share left by margin", ["margin", *names], rows)

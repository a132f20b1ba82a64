"""What a refreshed training shows a person: a plot over its steps, and a table at its end."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from ..core.store import write_bytes
from .refresh_log import RefreshLog, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT = "refresh.png"
_BLUE, _GREEN, _RED = "#2166ac", "#1b7837", "#b2182b"


def plot(log: RefreshLog, path: Path) -> None:
    """Draw dev nDCG@10, the negatives' age in steps, and churn, over steps, as a PNG.

    The same rows give the same bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    # without the software tag the same rows give the same bytes on every version
    FigureCanvasAgg(draw(log.rows())).print_png(buffer, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def draw(rows: Sequence[Row]) -> Figure:
    """The plot's figure: three panels over the same steps, nDCG with its refusals on top."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 6.5), dpi=120, layout="constrained")
    measures, ages, churns = figure.subplots(3, 1, sharex=True)
    _draw_ndcg(measures, rows)
    ages.plot(*age_line(rows), color=_BLUE, linewidth=1.4)
    swapped = _numbers(rows, "swap", "churn")
    if swapped:
        churns.stem([s for s, _ in swapped], [v for _, v in swapped], basefmt=" ")
    names = (
        "dev nDCG@10 (dotted: refused, grey: swapped)",
        "age of the negatives (steps)",
        "churn at the swap",
    )
    for axes, name in zip((measures, ages, churns), names, strict=True):
        axes.set_title(name, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (ages, churns):
        axes.set_ylim(bottom=0)
    churns.set_xlabel("step")
    churns.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _draw_ndcg(axes: Axes, rows: Sequence[Row]) -> None:
    found = _numbers(rows, "dev", "ndcg")
    axes.plot(
        [s for s, _ in found], [v for _, v in found], color=_GREEN, marker="o", markersize=3.5
    )
    for row in rows:
        if row["kind"] == "refused":
            axes.axvline(row["step"], color=_RED, linewidth=1, linestyle=":")
        if row["kind"] == "swap":
            axes.axvline(row["step"], color="#bbbbbb", linewidth=0.8, zorder=0)


def age_line(rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """Steps and ages of the negatives in use: one more each step, and down at a swap.

    From step 0, where they are as old as the training, to the last step in the log.
    """
    steps, ages = [0], [0]
    for swap in _of(rows, "swap"):
        before = ages[-1] + swap["step"] - steps[-1]
        steps += [swap["step"], swap["step"]]
        ages += [before, swap["age"]]
    end = max((row["step"] for row in rows), default=0)
    return [*steps, end], [*ages, ages[-1] + end - steps[-1]]


def refresh_table(log: RefreshLog) -> Table:
    """Counts of a training's refreshes, and the share of its seconds in which it stood still."""
    rows = log.rows()
    table = Table(title="refreshed negatives", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("weights published", f"{len(_of(rows, 'published')):,}")
    table.add_row("generations mined", f"{len(_of(rows, 'generation')):,}")
    table.add_row("  refused", f"{len(_of(rows, 'refused')):,}")
    for row in _of(rows, "refused"):
        for reason in row["reasons"]:
            table.add_row(f"    generation {row['generation']}: {escape(reason)}", "")
    table.add_row("swaps", f"{len(_of(rows, 'swap')):,}")
    _add_mean(table, "  age in steps, mean (most)", _numbers(rows, "swap", "age"), ".1f")
    _add_mean(table, "  churn, mean (most)", _numbers(rows, "swap", "churn"), ".3f")
    _add_mean(table, "dev nDCG@10, mean (best)", _numbers(rows, "dev", "ndcg"), ".4f")
    unmeasured = sum(isinstance(row["ndcg"], str) for row in _of(rows, "dev"))
    if unmeasured:
        table.add_row("  not finite, left out", f"{unmeasured:,}")
    stalled = sum(value for _, value in _numbers(rows, "stall", "seconds"))
    seconds = sum(value for _, value in _numbers(rows, "trained", "seconds"))
    share = f" ({100 * stalled / seconds:.2f}% of {seconds:.1f} s)" if seconds else ""
    table.add_row("stood still for negatives", f"{stalled:.1f} s{share}")
    return table


def _add_mean(table: Table, name: str, found: list[tuple[int, float]], form: str) -> None:
    values = [value for _, value in found]
    if values:
        mean = sum(values) / len(values)
        table.add_row(name, f"{mean:{form}} ({max(values):{form}})")


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _numbers(rows: Sequence[Row], kind: str, name: str) -> list[tuple[int, Any]]:
    """(step, value) of the rows of a kind by step; those without a finite number are left out."""
    found = [(r["step"], r[name]) for r in _of(rows, kind) if isinstance(r[name], int | float)]
    return sorted(found, key=lambda row: row[0])

"""What a mining run shows a person: a table and the score histogram."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from ..core.candidates import Reason
from ..core.encoder import F32
from ..core.store import write_bytes
from .tally import GROUPS, TIERS, Tally

_COLOURS = {"positives": "#1b7837", "kept negatives": "#2166ac", "rejected candidates": "#b2182b"}


def mining_table(tally: Tally, n: int, unit: str = "queries") -> Table:
    """Counts of a run: candidates, why they were rejected, negatives and shortfalls.

    `unit` is what a row of negatives stands for.
    """
    table = Table(title="mined negatives", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    table.add_row(unit, f"{tally.queries:,}", "")
    table.add_row("candidates", f"{tally.candidates:,}", "")
    for reason in Reason:
        count = tally.reasons[str(reason.name)]
        if count and reason is not Reason.PAD:
            name = str(reason.name).lower().replace("_", " ")
            table.add_row(f"  rejected: {name}", f"{count:,}", _share(count, tally.candidates))
    _add_denoise(table, tally)
    table.add_row("  kept", f"{tally.kept:,}", _share(tally.kept, tally.candidates))
    table.add_row("negatives drawn", f"{tally.drawn:,}", "")
    filled = {tier: tally.tiers[tier] for tier in TIERS[1:]}
    for name, count in sorted({**tally.sources, **filled}.items()):
        if count and count < tally.drawn:
            table.add_row(f"  {name}", f"{count:,}", _share(count, tally.drawn))
    _add_uses(table, tally)
    if tally.dropped:
        table.add_row(f"{unit} dropped", f"{tally.dropped:,}", _share(tally.dropped, tally.queries))
    short = sum(queries for found, queries in tally.negatives.items() if int(found) < n)
    table.add_row(f"{unit} with fewer than {n}", f"{short:,}", _share(short, tally.queries))
    return table


def _add_denoise(table: Table, tally: Tally) -> None:
    for name, count in sorted(tally.denoise.items()):
        label = "over positive_above: likely missing labels" if name == "likely_positive" else name
        table.add_row(f"  {label}", f"{count:,}", _share(count, tally.candidates))


def _add_uses(table: Table, tally: Tally) -> None:
    if not tally.capped:
        return
    table.add_row("draws over max_uses", f"{tally.capped['dropped']:,}", "")
    table.add_row("  replaced by a spare", f"{tally.capped['replaced']:,}", "")
    table.add_row("  missing", f"{tally.capped['missing']:,}", "")
    for name, uses in tally.most_used[:1]:
        row = (f"most used: {escape(name)}", f"{uses:,}", _share(uses, tally.queries))
        table.add_row(*row)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def write_histogram(path: Path, tally: Tally, edges: F32, title: str) -> None:
    """Draw the scores of positives, kept negatives and rejected candidates as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    widths = np.diff(edges)
    for group in reversed(GROUPS):
        counts = np.asarray(tally.histograms[group], dtype=np.float64)
        density = counts / max(counts.sum(), 1.0) / widths
        label = f"{group} ({int(counts.sum()):,})"
        axes.stairs(density, edges, fill=True, alpha=0.35, color=_COLOURS[group])
        axes.stairs(density, edges, color=_COLOURS[group], linewidth=1.4, label=label)
    axes.set_xlabel("score of query and document")
    axes.set_ylabel("density")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    # without the software tag the same counts give the same bytes on every version
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())

"""What the truth test shows a person."""

from __future__ import annotations

from rich.table import Table

from .truth import Interval, Truth


def truth_table(truth: Truth) -> Table:
    """One row for each setting: false negatives known to be some, and hardness."""
    title = (
        f"{truth.hidden:,} hidden positives of {truth.queries:,} queries,"
        f" {truth.retrieved:,} of them among the candidates"
    )
    caption = "\n".join(truth.notes) or None
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("setting")
    for column in ("drawn", "hidden positives drawn", "share", "95%", "hardness", "95%"):
        table.add_column(column, justify="right")
    for row in truth.rows:
        table.add_row(
            row.setting.label,
            f"{row.drawn:,}",
            f"{row.found:,}",
            share_text(row.false_negatives),
            interval_text(row.false_negatives_ci95, 100),
            "-" if row.hardness is None else f"{row.hardness:.3f}",
            interval_text(row.hardness_ci95, 1),
        )
    return table


def share_text(share: float | None) -> str:
    """A share as a percentage."""
    return "-" if share is None else f"{100 * share:.2f}%"


def interval_text(interval: Interval | None, scale: float) -> str:
    """Both ends, times `scale`."""
    if interval is None:
        return "-"
    digits = 2 if scale > 1 else 3
    return f"{scale * interval[0]:.{digits}f} to {scale * interval[1]:.{digits}f}"

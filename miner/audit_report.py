"""What an audit shows a person."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from .audit import Audit
from .audit_checks import Check
from .audit_fix import Removed

_STYLES = {"error": "red", "warning": "yellow"}


def heading(found: Audit) -> str:
    """What was audited: path, guessed format and sizes."""
    return (
        f"{found.path} ({found.format}): {found.rows:,} rows, {found.positives:,} positives,"
        f" {found.negatives:,} negatives, mostly {found.usual_negatives} in a row"
    )


def audit_table(found: Audit) -> Table:
    """Findings with their counts and the first places, errors first."""
    table = Table()
    table.add_column("severity")
    table.add_column("finding")
    table.add_column("count", justify="right")
    table.add_column("first at line")
    for check in Check:
        if found.counts[check]:
            places = ", ".join(f"{e.line} ({e.where})" for e in found.examples[check])
            severity = Text(check.severity, _STYLES[check.severity])
            table.add_row(severity, check.value, f"{found.counts[check]:,}", places)
    if not found.counts:
        table.add_row("", "nothing found", "0", "")
    return table


def removed_sentence(removed: Removed, out: Path) -> str:
    """What the cleaned copy holds and what was left out."""
    return (
        f"wrote {out}: {removed.kept:,} rows; removed {removed.negatives:,} negatives,"
        f" {removed.rows:,} faulty rows, {removed.emptied:,} rows left without negatives,"
        f" {removed.fixed_width:,} rows that cannot hold fewer negatives"
    )

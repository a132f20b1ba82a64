"""What a run of made negatives shows a person."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from .make import Made


def made_table(done: Made) -> Table:
    """Counts from what was asked for to what is left, and why the rest went."""
    report = done.report
    anchors = "queries" if report["kind"] == "passages" else "documents"
    table = Table(title=f"made {report['kind']}", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row(anchors, f"{report['anchors']:,}")
    for state, count in report["anchors_by_state"].items():
        if state != "ok":
            table.add_row(f"  nothing written: {_words(state)}", f"{count:,}")
    table.add_row("  without a made text", f"{report['anchors_without_texts']:,}")
    table.add_row("texts asked for", f"{report['asked_for']:,}")
    table.add_row("  written", f"{report['written']:,}")
    for rule, count in report["dropped"].items():
        table.add_row(f"  dropped: {_words(rule)}", f"{count:,}")
    for check in report["checks"]:
        name = escape(check["check"])
        table.add_row(f"  dropped: relevant to {name}", f"{check['false_negative']:,}")
        undecided = sum(check["undecided"].values())
        if undecided:
            why = ", ".join(f"{_words(w)} {n:,}" for w, n in check["undecided"].items())
            table.add_row(f"  dropped: undecided by {name} ({why})", f"{undecided:,}")
        if check["cut_texts"]:
            table.add_row(f"  cut for {name}", f"{check['cut_texts']:,}")
    table.add_row("  kept", f"{report['kept']:,}")
    return table


def spent_table(done: Made) -> Table:
    """What the writer and each check took in this run."""
    table = Table(title="calls", title_justify="left")
    table.add_column("who")
    for name in ("stored", "calls", "prompt tokens", "completion tokens", "cost"):
        table.add_column(name, justify="right")
    for one in done.spent["stages"]:
        names = ("stored", "calls", "prompt_tokens", "completion_tokens")
        counts = [f"{one[name]:,}" for name in names]
        table.add_row(escape(one["stage"]), *counts, f"{one['cost']:.4f}")
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")

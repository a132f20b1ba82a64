"""What a relabelling run shows a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from .estimate import StageEstimate
from .relabel import Relabelled

_RULINGS = ("seen", "clean", "false_negative", "forwarded", "unknown")


def stages_table(done: Relabelled) -> Table:
    """A row for each stage: what it saw, decided and passed on, and what that took."""
    table = Table(title="stages", title_justify="left")
    table.add_column("stage")
    for name in ("pairs", "clean", "false negative", "forwarded", "unknown", "calls", "cost"):
        table.add_column(name, justify="right")
    table.add_column("texts cut", justify="right")
    table.add_column("no verdict")
    for stage, spent in zip(done.report["stages"], done.spent["stages"], strict=True):
        counts = [f"{stage[name]:,}" for name in _RULINGS]
        silent = _counted(stage["silent_by_state"])
        money = (f"{spent['calls']:,}", f"{spent['cost']:.4f}")
        cut = f"{stage['cut_texts']:,}"
        table.add_row(escape(stage["stage"]), *counts, *money, cut, silent)
    return table


def rows_table(done: Relabelled) -> Table:
    """What was done: rows, negatives, and the rows by their number of false negatives."""
    report = done.report
    table = Table(title=f"operation {report['operation']}", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("rows", f"{report['rows']:,}")
    table.add_row("  written", f"{report['rows_written']:,}")
    table.add_row("  of these changed", f"{report['rows_changed']:,}")
    for name, count in report["rows_dropped"].items():
        table.add_row(f"  dropped: {_words(name)}", f"{count:,}")
    table.add_row("pairs", f"{report['pairs']:,}")
    for name, count in report["states"].items():
        table.add_row(f"  {_words(name)}", f"{count:,}")
    for name, count in report["by_people"].items():
        words = {"decided": "decided by people", "disagree": "people disagree"}
        table.add_row(f"  of these {words[name]}", f"{count:,}")
    names = {"keep": "stay negatives", "promoted": "are positives now", "copies": "copies, gone"}
    for name, count in report["negatives"].items():
        if count:
            table.add_row(f"  then: {names.get(name, _words(name))}", f"{count:,}")
    for name, count in report["rows_by_false_negatives"].items():
        table.add_row(f"rows with {name} false negatives", f"{count:,}")
    return table


def agreements_table(done: Relabelled) -> Table | None:
    """Two judges on the same pairs; None where nothing was judged twice."""
    found = [*done.report["between_stages"], *done.report["orders"], *done.report["human"]]
    return agreement_table(found) if found else None


def agreement_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each `Agreement` as JSON."""
    table = Table(title="agreement", title_justify="left")
    table.add_column("first")
    table.add_column("second")
    names = ("both", "only_first", "only_second", "both_clean", "undecided")
    for name in (*names, "kappa"):
        table.add_column(_words(name), justify="right")
    for pair in found:
        kappa = "-" if pair["kappa"] is None else f"{pair['kappa']:.3f}"
        counts = [f"{pair[name]:,}" for name in names]
        table.add_row(escape(pair["first"]), escape(pair["second"]), *counts, kappa)
    return table


def estimate_table(estimates: Sequence[StageEstimate]) -> Table:
    """What a dry run expects of each stage, and in all."""
    table = Table(title="estimate: nothing was asked or written", title_justify="left")
    table.add_column("stage")
    names = ("pairs", "calls", "prompt_tokens", "completion_tokens")
    for name in (*names, "cost"):
        table.add_column(_words(name), justify="right")
    rows = [one.as_json() for one in estimates]
    for row in (*rows, _total(rows, names)):
        counts = [f"{row[name]:,.0f}" for name in names]
        table.add_row(escape(str(row["stage"])), *counts, f"{row['cost']:,.4f}")
    return table


def _total(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    sums = {name: sum(row[name] for row in rows) for name in (*names, "cost")}
    return {"stage": "all", **sums}


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_words(name)} {count:,}" for name, count in counts.items())


def _words(name: str) -> str:
    return name.replace("_", " ")

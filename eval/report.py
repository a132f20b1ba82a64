"""Tables of systems and their differences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from .results import Evaluation
from .significance import Comparison

_LABELS = {
    "ndcg": "nDCG",
    "mrr": "MRR",
    "recall": "Recall",
    "map": "MAP",
    "precision": "P",
    "success": "Success",
    "r_cap": "R_cap",
    "judged": "Judged",
    "infap": "infAP",
}


def label(measure: str) -> str:
    """`ndcg@10` as the field writes it, `nDCG@10`."""
    base, at, cutoff = measure.partition("@")
    return f"{_LABELS.get(base, base)}{at}{cutoff}"


def systems_table(
    evaluations: dict[str, Evaluation], comparisons: Sequence[Comparison], title: str
) -> Table:
    """One row for each system, then one for each difference with its 95% interval.

    `*` marks what is significant by sign flips, corrected for all differences of a measure (Holm).
    """
    measures = list(next(iter(evaluations.values())).values)
    table = Table(title=title, title_justify="left")
    table.add_column("system", overflow="fold")
    for measure in measures:
        table.add_column(label(measure), justify="right", no_wrap=True)
    for name, evaluation in evaluations.items():
        means = evaluation.means()
        table.add_row(name, *(f"{means[m]:.4f}" for m in measures))
    table.add_section()
    pairs = dict.fromkeys((c.a, c.b) for c in comparisons)
    for a, b in pairs:
        cells = {c.measure: _difference(c) for c in comparisons if (c.a, c.b) == (a, b)}
        table.add_row(f"{a} - {b}", *(cells[m] for m in measures))
    return table


def _difference(comparison: Comparison) -> str:
    low, high = comparison.ci95
    mark = "*" if comparison.significant else " "
    return f"{comparison.difference:+.4f}{mark} [{low:+.4f}, {high:+.4f}]"

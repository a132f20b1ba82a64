"""What a calibration shows a person."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from .calibrate import Calibrated
from .platt import BINS


def reliability_table(done: Calibrated) -> Table:
    """The share that is relevant in each tenth of the probability, on queries held out."""
    title = f"{done.data['judge']}: probabilities of held-out queries"
    table = Table(title=escape(title), title_justify="left")
    for name in ("probability", "pairs", "mean", "relevant"):
        table.add_column(name, justify="right")
    for at, one in enumerate(done.after.bins):
        edges = f"{at / BINS:.1f} to {(at + 1) / BINS:.1f}"
        numbers = ("-", "-") if one is None else (f"{one.probability:.3f}", f"{one.relevant:.3f}")
        table.add_row(edges, f"{0 if one is None else one.pairs:,}", *numbers)
    return table


def sentences(done: Calibrated) -> list[str]:
    """The fit, how good it is, what to beware of, and the line that uses it."""
    data, before, after = done.data, done.before, done.after
    found = [
        f"{data['relevant']:,} relevant and {data['others']:,} other pairs of {data['queries']:,}"
        f" queries ({data['labels']['source']}): bias {done.platt.bias:g}, temperature"
        f" {done.platt.temperature:g}",
        f"{data['rows']:,} of {data['rows_with_labels']:,} rows with labels were scored",
        f"Brier score {after.brier:.4f}, expected calibration error {after.ece:.4f} on held-out"
        f" queries; as configured {before.brier:.4f} and {before.ece:.4f}",
    ]
    if data["separable"]:
        found.append(
            "one threshold parts all relevant pairs from the others: the temperature is that of the"
            " smoothed labels, not of the data; label pairs that are harder to tell apart"
        )
    if data["classes_weigh_the_same"]:
        found.append(
            "both kinds weigh the same, and nobody has judged the negatives: these are"
            " probabilities at even odds, which order pairs, and no shares"
        )
    return [*found, f"wrote {done.path}; to use it, set {done.line}"]

"""What `suggest` shows a person: a table, the sections to paste, and a plot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from ..core.store import write_bytes
from .suggest import MAX_SHORT, Outcome, Suggestion

PLOT = "suggest.png"
_COLOURS = {
    "configured": "#000000",
    "no ceiling": "#666666",
    "margin": "#2166ac",
    "percent": "#1b7837",
    "window": "#b2182b",
    "simans": "#762a83",
}


def suggestion_table(suggestion: Suggestion) -> Table:
    """One row for each setting; the recommended one is marked."""
    title = f"settings compared on {suggestion.queries:,} queries"
    table = Table(title=title, title_justify="left")
    table.add_column("setting")
    for column in ("kept", "short", "hardness", "false negatives"):
        table.add_column(column, justify="right")
    for outcome in suggestion.outcomes:
        best = outcome is suggestion.recommended
        table.add_row(
            outcome.setting.label + (" (recommended)" if best else ""),
            f"{100 * outcome.kept:.1f}%",
            f"{100 * outcome.short:.1f}%",
            _number(outcome.hardness),
            _number(outcome.false_negatives),
            style="bold" if best else None,
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def explanation(suggestion: Suggestion) -> str:
    """What was looked for, what was found, and the lines to paste."""
    limits = (
        f"looked for: the hardest setting with at most {100 * MAX_SHORT:g}% of queries short\n"
        f"and at most {suggestion.max_false_negatives:g} estimated false negatives.\n"
        "hardness: mean of (negative's score - positive's score).\n"
        "false negatives: mean share of known positives that score no higher than a drawn\n"
        "negative; negatives that score like positives get 0.5. A proxy: it compares settings\n"
        "and reads high as a share of wrong labels.\n"
    )
    return limits + _verdict(suggestion)


def _verdict(suggestion: Suggestion) -> str:
    if suggestion.recommended is not None:
        lead = f"recommended: {suggestion.recommended.setting.label}; the sections to paste:\n\n"
        return lead + yaml_lines(suggestion.recommended)
    if suggestion.nearest is None:
        return "no setting leaves any candidate; raise retrieve.depth or filters.max_score\n"
    nearest = suggestion.nearest
    return (
        f"no setting is within both limits. Nearest: {nearest.setting.label}, with"
        f" {100 * nearest.short:.1f}% short\nand {_number(nearest.false_negatives)} estimated"
        " false negatives. For fewer short queries raise retrieve.depth;\nelse raise"
        " --max-false-negatives. Its sections:\n\n" + yaml_lines(nearest)
    )


def yaml_lines(outcome: Outcome) -> str:
    """The sections `filters` and `sampler` of a setting, as YAML that replaces both."""
    return str(yaml.safe_dump(outcome.setting.sections(), sort_keys=False))


def write_plot(suggestion: Suggestion) -> Path:
    """Draw false negatives against hardness into the run's folder; returns the file's path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    drawn = [o for o in suggestion.outcomes if o.hardness is not None]
    for family, colour in _COLOURS.items():
        _points(axes, [o for o in drawn if o.setting.family == family], family, colour)
    _labels(axes, drawn)
    best = suggestion.recommended
    if best is not None:
        _ring(axes, best)
    axes.axhline(suggestion.max_false_negatives, color="grey", linestyle="--", linewidth=0.8)
    axes.set_xlabel("hardness: mean of negative's score - positive's score")
    axes.set_ylabel("estimated false negatives")
    title = f"hollow: over {100 * MAX_SHORT:g}% of queries short; dashed: the limit"
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if drawn:
        axes.legend(frameon=False, fontsize=8)
    buffer = io.BytesIO()
    # without the software tag the same numbers give the same bytes on every version
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    path = suggestion.folder / PLOT
    write_bytes(path, buffer.getvalue())
    return path


def _points(axes: Any, outcomes: list[Outcome], family: str, colour: str) -> None:
    if not outcomes:
        return
    x = [o.hardness for o in outcomes]
    y = [o.false_negatives for o in outcomes]
    inside = [colour if o.short <= MAX_SHORT else "none" for o in outcomes]
    axes.scatter(x, y, s=28, c=inside, edgecolors=colour, label=family)


def _ring(axes: Any, best: Outcome) -> None:
    at = ([best.hardness], [best.false_negatives])
    axes.scatter(*at, s=160, facecolors="none", edgecolors="black", label="recommended")


def _labels(axes: Any, outcomes: list[Outcome]) -> None:
    """Label every point once; neighbours in height get their labels on opposite sides."""
    names: dict[tuple[Any, Any], list[Outcome]] = {}
    for outcome in outcomes:
        names.setdefault((outcome.false_negatives, outcome.hardness), []).append(outcome)
    for at, (y, x) in enumerate(sorted(names)):
        left = at % 2 == 1
        axes.annotate(
            ", ".join(o.setting.label for o in names[y, x]),
            (x, y),
            xytext=(-6 if left else 6, -2),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=6,
            color=_COLOURS[names[y, x][-1].setting.family],
        )

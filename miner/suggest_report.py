"""What `suggest` shows a person: a table, the sections to paste, and a plot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from ..core.store import write_bytes
from .suggest import MIN_TESTED, Suggestion
from .suggest_rule import MAX_OF_WORST, MIN_FILLED, Outcome
from .truth_report import interval_text, share_text

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
    interval = ["95%"] if suggestion.by_hidden else []
    for column in ("kept", "short", "filled", "hardness", "false negatives", *interval):
        table.add_column(column, justify="right")
    for outcome in suggestion.outcomes:
        best = outcome is suggestion.recommended
        table.add_row(
            outcome.setting.label + (" (recommended)" if best else ""),
            f"{100 * outcome.kept:.1f}%",
            f"{100 * outcome.short:.1f}%",
            f"{100 * outcome.filled:.1f}%",
            _number(outcome.hardness),
            *_false_negatives(outcome),
            style="bold" if best else None,
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _false_negatives(outcome: Outcome) -> list[str]:
    """The share and, where there is one, its interval."""
    if outcome.hidden is None:
        return [_number(outcome.proxy)]
    interval = interval_text(outcome.hidden.false_negatives_ci95, 100)
    return [share_text(outcome.false_negatives), interval]


def explanation(suggestion: Suggestion) -> str:
    """What was looked for, what was found, and the lines to paste."""
    parts = (
        _rule(suggestion),
        "filled: drawn negatives, of those configured.\n"
        "hardness: mean of (negative's score - positive's score).\n",
        _estimate(suggestion),
        *(f"{note}.\n" for note in suggestion.notes),
        _verdict(suggestion),
    )
    return "".join(parts)


def _rule(suggestion: Suggestion) -> str:
    shown = _limit(suggestion)
    if suggestion.by_hidden and not suggestion.asked:
        shown += f" ({MAX_OF_WORST:g} times the highest of these)"
    return (
        f"looked for: the hardest setting that draws at least {100 * MIN_FILLED:g}% of the"
        f" negatives\nwith a false-negative share of at most {shown}.\n"
    )


def _limit(suggestion: Suggestion) -> str:
    limit = suggestion.max_false_negatives
    return share_text(limit) if suggestion.by_hidden else f"{limit:g}"


def _estimate(suggestion: Suggestion) -> str:
    if suggestion.by_hidden:
        return (
            "false negatives: hidden positives among the negatives of queries with several; of"
            f" these\n{suggestion.tested:,} have one among their candidates (needed:"
            f" {MIN_TESTED}). Compares settings; not the share of\nwrong labels.\n"
        )
    return (
        "false negatives: mean share of known positives that score no higher than a drawn\n"
        "negative; negatives that score like positives get 0.5. A proxy that reads high and\n"
        "hardly sees margins. Hiding positives says more, but only"
        f" {suggestion.tested:,} queries have one to hide\namong their candidates, and"
        f" {MIN_TESTED} are needed.\n"
    )


def _verdict(suggestion: Suggestion) -> str:
    if suggestion.recommended is not None:
        lead = f"recommended: {suggestion.recommended.setting.label}; the sections to paste:\n\n"
        return lead + yaml_lines(suggestion.recommended)
    if suggestion.nearest is None:
        return "no setting leaves any candidate; raise retrieve.depth or filters.max_score\n"
    nearest = suggestion.nearest
    return (
        f"no setting is within both limits. Nearest: {nearest.setting.label}, with"
        f" {100 * nearest.filled:.1f}% filled\nand {_false_negatives(nearest)[0]} estimated"
        " false negatives. For more negatives raise retrieve.depth;\nelse raise"
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
    drawn = [o for o in suggestion.outcomes if None not in (o.hardness, o.false_negatives)]
    for family, colour in _COLOURS.items():
        _points(axes, [o for o in drawn if o.setting.family == family], family, colour)
    _labels(axes, drawn)
    best = suggestion.recommended
    if best is not None:
        _ring(axes, best)
    axes.axhline(suggestion.max_false_negatives, color="grey", linestyle="--", linewidth=0.8)
    axes.set_xlabel("hardness: mean of negative's score - positive's score")
    by = "share of hidden positives" if suggestion.by_hidden else "proxy"
    axes.set_ylabel(f"estimated false negatives: {by}")
    title = f"hollow: under {100 * MIN_FILLED:g}% of the negatives drawn; dashed: the limit"
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
    inside = [colour if o.filled >= MIN_FILLED else "none" for o in outcomes]
    axes.scatter(x, y, s=28, c=inside, edgecolors=colour, label=family)


def _ring(axes: Any, best: Outcome) -> None:
    at = ([best.hardness], [best.false_negatives])
    axes.scatter(*at, s=160, facecolors="none", edgecolors="black", label="recommended")


def _labels(axes: Any, outcomes: list[Outcome]) -> None:
    """Label every point once; aslant, because hidden positives put many points at one height."""
    names: dict[tuple[Any, Any], list[Outcome]] = {}
    for outcome in outcomes:
        names.setdefault((outcome.false_negatives, outcome.hardness), []).append(outcome)
    for y, x in sorted(names):
        axes.annotate(
            ", ".join(o.setting.label for o in names[y, x]),
            (x, y),
            xytext=(3, 3),
            textcoords="offset points",
            rotation=40,
            rotation_mode="anchor",
            fontsize=6,
            color=_COLOURS[names[y, x][-1].setting.family],
        )

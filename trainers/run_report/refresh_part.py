"""What refreshes did while a model was trained: churn, age and dev measure over generations."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ...core.errors import PyriteError
from ..make_generation import REPORT
from ..refresh_log import FILE, RefreshLog, Row
from ..refresh_report import age_line
from .part import Line, Part, Plot, Table
from .run_folder import RunFolder
from .shown import count, number, seconds


def refresh_part(run: RunFolder) -> Part | None:
    """The part about refreshes; None where nothing was written down."""
    if not (run.refresh.folder / FILE).is_file():
        return None
    rows = RefreshLog(run.refresh.folder).rows()
    if not rows:
        return None
    generations = _generations(rows, run)
    numbers: dict[str, Any] = {
        "generations": generations,
        "dev": _numbers(rows, "dev", "ndcg"),
        "age": list(zip(*age_line(rows), strict=True)),
        "churn": _numbers(rows, "swap", "churn"),
        "stalled_seconds": sum(v for _, v in _numbers(rows, "stall", "seconds")),
        "trained_seconds": sum(v for _, v in _numbers(rows, "trained", "seconds")),
        "mined_seconds": sum(v for _, v in _numbers(rows, "generation", "seconds")),
    }
    refused = sum(not g["adopted"] for g in generations)
    ages = [age for _, age in numbers["age"]]
    lead = [
        f"{count(len(generations))} generations were mined with the weights in training,"
        f" {count(refused)} of them refused; negatives were at most {count(max(ages))} steps old."
    ]
    return Part(
        "refresh",
        "Refreshed negatives",
        lead,
        numbers,
        headlines=[("generations (refused)", f"{count(len(generations))} ({count(refused)})")],
        charts=_plots(numbers, rows),
        tables=[_table(generations)],
        notes=_notes(rows),
    )


def _generations(rows: list[Row], run: RunFolder) -> list[dict[str, Any]]:
    """A row for each generation in the order of their numbers."""
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        if row["kind"] == "generation":
            facts = {"generation": row["generation"], "step": row["step"]}
            nothing = dict.fromkeys(("swapped", "age", "churn", "ndcg", "false_negatives"))
            measured = {"seconds": row["seconds"], "adopted": True, "reasons": [], **nothing}
            found[row["generation"]] = {**facts, **measured}
    for row in rows:
        one = found.get(row.get("generation", -1))
        if one is None:
            continue
        if row["kind"] == "refused":
            one |= {"adopted": False, "reasons": list(row["reasons"])}
        if row["kind"] == "swap":
            one |= {"swapped": row["step"], "age": row["age"], "churn": row["churn"]}
    dev = dict(_numbers(rows, "dev", "ndcg"))
    for number_of, one in found.items():
        one["ndcg"] = dev.get(one["step"])
        one["false_negatives"] = _false_negatives(run, number_of)
    return [found[key] for key in sorted(found)]


def _false_negatives(run: RunFolder, number_of: int) -> float | None:
    """The estimated share, of a generation that is still there and was limited in it."""
    path = run.refresh.generations / f"{number_of:06d}" / REPORT
    try:
        found = json.loads(path.read_text("utf-8"))["measured"]["false_negatives"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PyriteError(f"{path}: no report of a generation ({error}); delete it") from error
    share = None if found is None else found["share"]
    return None if share is None else float(share)


def _plots(numbers: dict[str, Any], rows: list[Row]) -> list[Plot]:
    span = (0.0, float(max(row["step"] for row in rows)))
    refused = [(float(r["step"]), "refused") for r in rows if r["kind"] == "refused"]
    plots = []
    if numbers["dev"]:
        best = max(v for _, v in numbers["dev"])
        line = [Line("dev nDCG@10", "positives", numbers["dev"], kind) for kind in ("line", "dots")]
        told = (
            f"Dev nDCG@10 of each generation ({len(numbers['dev'])} measured), at best {best:.4f}."
        )
        plots.append(
            _plot("Dev measure", told, "nDCG@10", numbers["dev"], line, refused, from_zero=False)
        )
    oldest = max(age for _, age in numbers["age"])
    line = [Line("age of the negatives in use", "kept", numbers["age"])]
    told = f"Age of the negatives in steps; it falls at a swap, and is at most {oldest}."
    plots.append(_plot("Age of the negatives", told, "steps", numbers["age"], line))
    if numbers["churn"]:
        mean = sum(v for _, v in numbers["churn"]) / len(numbers["churn"])
        line = [Line("share of new negatives at a swap", "rejected", numbers["churn"], "stems")]
        told = f"Churn, {mean:.3f} on average of the swaps ({len(numbers['churn'])})."
        plots.append(_plot("Churn", told, "share new", numbers["churn"], line))
    return [replace(plot, span=span) for plot in plots]


def _plot(
    title: str,
    summary: str,
    y_label: str,
    points: list[tuple[int, float]],
    lines: list[Line],
    marks: list[tuple[float, str]] | None = None,
    from_zero: bool = True,
) -> Plot:
    found = [[count(step), f"{value:.4g}"] for step, value in points]
    table = Table(title, ["step", y_label], found)
    return Plot(title, summary, "step", y_label, lines, table, marks or (), from_zero)


def _table(generations: list[dict[str, Any]]) -> Table:
    columns = ("generation", "verdict", "weights of step", "in use from", "age", "churn")
    more = ("dev nDCG@10", "est. false negatives", "mined in")
    rows = []
    for one in generations:
        verdict = "adopted" if one["adopted"] else "refused: " + "; ".join(one["reasons"])
        steps = [count(one["step"]), *(_whole(one[name]) for name in ("swapped", "age"))]
        measures = [_value(one[n], d) for n, d in (("churn", 3), ("ndcg", 4))]
        false = _value(one["false_negatives"], 4)
        row = [str(one["generation"]), verdict, *steps, *measures, false]
        rows.append([*row, seconds(one["seconds"])])
    return Table("generations", [*columns, *more], rows, left=2)


def _whole(value: Any) -> str:
    return "-" if value is None else count(value)


def _value(value: Any, digits: int) -> str:
    return value if isinstance(value, str) else number(value, digits)


def _notes(rows: list[Row]) -> list[str]:
    unmeasured = sum(row["kind"] == "dev" and isinstance(row["ndcg"], str) for row in rows)
    if not unmeasured:
        return []
    return [f"Dev measures that are not finite are not drawn: {count(unmeasured)}."]


def _numbers(rows: list[Row], kind: str, name: str) -> list[tuple[int, float]]:
    """(step, value) by step; those without a finite number are left out."""
    found = [(r["step"], r[name]) for r in rows if r["kind"] == kind]
    return sorted((s, float(v)) for s, v in found if isinstance(v, int | float))

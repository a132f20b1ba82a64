"""What training gained: systems side by side on the held-out queries, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ...core.store import Manifest
from ...eval.report import label
from .part import Intervals, Part, Table
from .run_folder import RunFolder
from .shown import count, number

_RESULTS, _PER_QUERY = "results.json", "per_query.parquet"


def training_part(run: RunFolder) -> Part:
    """The part about `pyrite train`."""
    results = run.read("training", _RESULTS)
    systems: dict[str, dict[str, float]] = results["systems"]
    measures = list(next(iter(systems.values())))
    queries = run.manifests["training"].data["counts"]["held_out_queries"]
    turned = _turned(run, list(systems), measures[0])
    models = _models(run)
    numbers = {**results, "held_out_queries": queries, "queries_turned": turned, "models": models}
    pairs = list(dict.fromkeys((c["a"], c["b"]) for c in results["comparisons"]))
    plots = [_intervals(results["comparisons"], measure) for measure in measures[:2]]
    first, last = next(iter(systems)), list(systems)[-1]
    gain = f"{systems[first][measures[0]]:.3f} → {systems[last][measures[0]]:.3f}"
    return Part(
        "training",
        "Training",
        [
            f"Means over {count(queries)} held-out queries, and paired differences of this one"
            " seed; another seed may differ."
        ],
        numbers,
        headlines=[(f"{label(measures[0])}, {first} → {last}", gain)],
        charts=[plot for plot in plots if plot.rows],
        tables=[
            _systems_table(systems, measures),
            _differences_table(results["comparisons"], pairs, measures),
            _turned_table(turned, measures[0]),
            *([_models_table(models)] if models else []),
        ],
    )


def evaluation_part(run: RunFolder) -> Part:
    """The part about `pyrite eval`."""
    results = run.read("evaluation", _RESULTS)
    means: dict[str, float] = results["measures"]
    facts = [[k, str(v)] for k, v in results.items() if isinstance(v, str | int | float)]
    rows = [[label(name), number(value)] for name, value in means.items()]
    name = str(results.get("model") or results.get("retriever"))
    return Part(
        "evaluation",
        "Evaluation",
        [f"{name}, measured by pyrite eval."],
        results,
        tables=[Table("means", ["measure", "value"], rows), Table("of what", ["", ""], facts, 2)],
    )


def _systems_table(systems: dict[str, dict[str, float]], measures: list[str]) -> Table:
    rows = [[name, *(number(means[m]) for m in measures)] for name, means in systems.items()]
    return Table("systems", ["system", *(label(m) for m in measures)], rows)


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    # one query has no interval
    ends = found["ci95"]
    between = "" if ends is None else f" [{ends[0]:+.4f}, {ends[1]:+.4f}]"
    return f"{found['difference']:+.4f}{'*' * found.get('significant', False)}{between}"


def _differences_table(
    comparisons: list[dict[str, Any]], pairs: list[tuple[str, str]], measures: list[str]
) -> Table:
    found = {(c["a"], c["b"], c["measure"]): c for c in comparisons}
    rows = [
        [f"{a} - {b}", *(_difference(found.get((a, b, m))) for m in measures)] for a, b in pairs
    ]
    caption = "differences with 95% intervals; *: p at most 0.05 by sign flips, after Holm"
    return Table(caption, ["pair", *(label(m) for m in measures)], rows)


def _intervals(comparisons: list[dict[str, Any]], measure: str) -> Intervals:
    rows = [
        (f"{c['a']} - {c['b']}", c["ci95"][0], c["difference"], c["ci95"][1])
        for c in comparisons
        if c["measure"] == measure and c["ci95"] is not None
    ]
    told = ", ".join(f"{name} {middle:+.4f}" for name, _, middle, _ in rows)
    table = [[name, *(number(v) for v in values)] for name, *values in rows]
    return Intervals(
        f"Differences in {label(measure)}",
        f"Differences in {label(measure)} with 95% intervals: {told}.",
        rows,
        Table(f"{label(measure)}", ["pair", "low", "difference", "high"], table),
    )


def _turned(run: RunFolder, systems: list[str], measure: str) -> dict[str, dict[str, int]]:
    """For two systems how many queries the later one ranks better, alike and worse."""
    table = pq.read_table(run.home("training") / _PER_QUERY)
    values = {s: np.asarray(table.column(f"{s} {measure}").to_numpy()) for s in systems}
    found = {}
    for at, one in enumerate(systems):
        for other in systems[:at]:
            sign = np.sign(values[one] - values[other])
            names = {"better": 1, "alike": 0, "worse": -1}
            found[f"{one} - {other}"] = {n: int((sign == s).sum()) for n, s in names.items()}
    return found


def _turned_table(turned: dict[str, dict[str, int]], measure: str) -> Table:
    rows = [[pair, *(count(value) for value in found.values())] for pair, found in turned.items()]
    return Table(f"queries by {label(measure)}", ["pair", "better", "alike", "worse"], rows)


def _models(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Steps and last loss of the models that are there."""
    found = {}
    for folder in sorted((run.folder / "models").glob("*")):
        manifest = Manifest.read(folder)
        if manifest is not None and "steps" in manifest.data:
            names = ("steps", "training_loss")
            found[folder.name] = {name: manifest.data.get(name) for name in names}
    return found


def _models_table(models: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [name, count(facts["steps"]), number(facts["training_loss"])]
        for name, facts in models.items()
    ]
    return Table("trained models", ["model", "steps", "mean loss"], rows)

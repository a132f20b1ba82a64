"""Rows of finished runs, and what they say: means, spread over seeds, paired intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from recipe_list import BASE, IN_BATCH

MEASURE = "ndcg@10"
# a recipe may lose this much outside the domain that it was tuned on
ALLOWED_LOSS = 0.01


@dataclass(frozen=True)
class Row:
    """One finished (system, seed).

    `values` has each query's nDCG@10 for each test set, `queries` a digest of the query ids;
    `mined` is how many negatives a query has on average, `seconds` what each part took.
    """

    key: str
    system: str
    seed: int
    mined: float
    seconds: dict[str, float]
    values: dict[str, list[float]]
    queries: dict[str, str]


def means_over_seeds(rows: Sequence[Row], system: str, test: str) -> Any:
    """Each query's mean over the seeds of one system, float64 [Q]."""
    return np.mean([row.values[test] for row in rows if row.system == system], axis=0)


def summary(
    rows: Sequence[Row], test: str, others: Sequence[str] = (IN_BATCH, BASE)
) -> list[dict[str, Any]]:
    """One entry for each system, in the order of the rows, each compared with the `others`.

    A query's differences are averaged over the seeds first, and queries are resampled: a query's
    seeds are no independent observations.
    """
    from pyrite.eval.significance import compare

    if len({row.queries[test] for row in rows}) > 1:
        raise ValueError(f"{test}: rows of different queries; delete the state folder")
    out = []
    for system in dict.fromkeys(row.system for row in rows):
        own = means_over_seeds(rows, system, test)
        seeds = [float(np.mean(row.values[test])) for row in rows if row.system == system]
        entry: dict[str, Any] = {
            "system": system,
            "seeds": len(seeds),
            "mean": float(own.mean()),
            "sd_over_seeds": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
        }
        for other in others:
            if other != system:
                found = compare(system, other, MEASURE, own, means_over_seeds(rows, other, test))
                entry[f"minus_{other}"] = {
                    "difference": found.difference,
                    "ci95": list(found.ci95),
                }
        out.append(entry)
    return out


def difference(entry: dict[str, Any], other: str) -> str:
    """`+0.0123* [+0.0010, +0.0240]`; the star marks an interval without zero."""
    found = entry.get(f"minus_{other}")
    if found is None:
        return ""
    low, high = found["ci95"]
    mark = "*" if low > 0 or high < 0 else ""
    return f"{found['difference']:+.4f}{mark} [{low:+.4f}, {high:+.4f}]"


def markdown(
    entries: Sequence[dict[str, Any]], title: str, others: Sequence[str] = (IN_BATCH, BASE)
) -> str:
    """One table."""
    lines = [
        f"### {title}",
        "",
        f"| system | nDCG@10 | sd over seeds |{''.join(f' minus {other} |' for other in others)}",
        f"|---|---:|---:|{'---:|' * len(others)}",
    ]
    for entry in entries:
        spread = entry["sd_over_seeds"]
        cells = [
            entry["system"],
            f"{entry['mean']:.4f}",
            "" if spread is None else f"{spread:.4f}",
            *(difference(entry, other) for other in others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(inside: Sequence[dict[str, Any]], outside: Sequence[dict[str, Any]] | None) -> str:
    """Which systems beat in-batch negatives, and which of all keep what the model knew."""
    better = [
        e["system"]
        for e in inside
        if e["system"] not in (IN_BATCH, BASE) and e[f"minus_{IN_BATCH}"]["ci95"][0] > 0
    ]
    lines = [f"better than {IN_BATCH} in the domain (interval above 0): {_names(better)}"]
    if outside is not None:
        kept = [
            e["system"]
            for e in outside
            if e["system"] != BASE and e[f"minus_{BASE}"]["difference"] >= -ALLOWED_LOSS
        ]
        lines.append(
            f"lose at most {ALLOWED_LOSS:.2f} outside it (the mean, not the interval):"
            f" {_names(kept)}"
        )
        lines.append(f"both: {_names([name for name in better if name in kept])}")
    count = len(inside) - 1
    lines.append(f"{count} systems are compared with {IN_BATCH}; intervals are not corrected")
    return "\n".join(lines)


def _names(systems: Sequence[str]) -> str:
    return ", ".join(systems) or "none"

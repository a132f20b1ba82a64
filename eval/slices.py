"""Parts of the queries: where a system wins, and where it loses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.beir import Dataset
from ..core.errors import PyriteError
from ..core.json_lines import json_object
from .compared_data import ComparedData
from .finished_runs import Systems
from .measures import F64
from .significance import Comparison, compare, with_holm

OTHER = "other"
MIN_QUERIES = 10
_MOST_SLICES = 12
_WH = ("what", "when", "where", "which", "who", "whom", "whose", "why", "how")
_YES_NO = (
    *("am", "is", "are", "was", "were", "do", "does", "did", "has", "have", "had"),
    *("can", "could", "may", "might", "must", "shall", "should", "will", "would"),
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the queries: each system's mean, and the differences in it."""

    label: str
    queries: int
    means: dict[str, float]
    comparisons: list[Comparison]

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        compared = [one.as_json() for one in self.comparisons]
        return {"slice": self.label, "queries": self.queries, "means": self.means} | {
            "comparisons": compared
        }


@dataclass(frozen=True, slots=True)
class Slicing:
    """All parts under one criterion, other last; together they are all queries."""

    by: str
    measure: str
    slices: list[Slice]

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        return {
            "by": self.by,
            "measure": self.measure,
            "slices": [one.as_json() for one in self.slices],
        }


def wh_word(text: str) -> str:
    """The first English question word of a query, `yes/no` where it begins with a verb, or other.

    >>> [wh_word(t) for t in ("In which year?", "Is it wet", "vitamin d")]
    ['which', 'yes/no', 'other']
    """
    words: list[str] = _WORD.findall(text.casefold())
    asked = next((word for word in words if word in _WH), None)
    if asked is None:
        return "yes/no" if words and words[0] in _YES_NO else OTHER
    return asked


def first_word(text: str) -> str:
    """The first word of a query, case folded; other where there is none."""
    found = _WORD.search(text.casefold())
    return str(found[0]) if found else OTHER


def length_labels(texts: Sequence[str]) -> list[str]:
    """The quarter of each query by its number of words: `1-4 words`, `5-7 words`, ..."""
    counts = np.array([len(text.split()) for text in texts])
    # equal counts are never parted, so there may be fewer than four
    cuts = np.unique(np.quantile(counts, [0.25, 0.5, 0.75, 1.0], method="inverted_cdf"))
    part = np.searchsorted(cuts, counts)
    names = []
    for at, last in enumerate(cuts.tolist()):
        first = int(counts[part == at].min())
        plural = "s" * (last != 1)
        names.append(f"{first}-{last} words" if first < last else f"{last} word{plural}")
    return [names[at] for at in part]


def column_labels(dataset: Dataset, ids: Sequence[str], column: str) -> list[str]:
    """The user's `column` of each query: a field of queries.jsonl, or of its `metadata`.

    Raises PyriteError if no query has it; the ones without are `other`.
    """
    path = dataset.folder / "queries.jsonl"
    found = _column(path, column) if path.is_file() else {}
    if not any(name in found for name in ids):
        raise PyriteError(
            f"{path}: no compared query has a field {column!r}, nor one in its metadata; slice by"
            " wh, first-word, length or such a field"
        )
    return [found.get(name, OTHER) for name in ids]


def _column(path: Path, column: str) -> dict[str, str]:
    found = {}
    with path.open("rb") as handle:
        for line, raw in enumerate(handle, start=1):
            if not raw.strip():
                continue
            record = json_object(raw, f"{path}:{line}")
            inside = record.get("metadata")
            value = inside.get(column) if isinstance(inside, dict) else None
            value = record.get(column) if value is None else value
            if value is not None and not isinstance(value, dict | list):
                found[str(record.get("_id"))] = str(value)
    return found


def labels(by: str, data: ComparedData, ids: Sequence[str]) -> list[str]:
    """The label of each query under `by`: wh, first-word, length, or a column's name.

    Rare ones are `other`.
    """
    if by == "length":
        return merged(length_labels(data.queries))
    if by == "wh":
        return merged([wh_word(text) for text in data.queries])
    if by == "first-word":
        return merged([first_word(text) for text in data.queries])
    return merged(column_labels(data.dataset, ids, by))


def merged(given: Sequence[str]) -> list[str]:
    """The labels with all but the 12 commonest, and those of under 10 queries, as `other`."""
    counts = Counter(given)
    order = sorted(counts, key=lambda name: (-counts[name], name))
    kept = {n for n in order[:_MOST_SLICES] if counts[n] >= MIN_QUERIES}
    return [name if name in kept else OTHER for name in given]


def slicing(
    by: str,
    systems: Systems,
    given: Sequence[str],
    measure: str,
    pairs: Sequence[tuple[str, str]],
    seed: int = 0,
) -> Slicing:
    """Means and differences of `pairs` (a, b) in every part of the queries.

    `given` has a label for each query. All differences of a slicing are one family for Holm's
    correction.
    """
    values = {name: of[measure] for name, of in systems.values.items()}
    named = np.array(given, dtype=object)
    counts = Counter(named.tolist())
    order = sorted(counts, key=lambda name: (name == OTHER, *_place(by, name, counts[name]), name))
    parts = [np.flatnonzero(named == name) for name in order]
    compared = with_holm(
        [
            compare(a, b, measure, values[a][:, part], values[b][:, part], seed)
            for part in parts
            for a, b in pairs
        ]
    )
    return Slicing(
        by,
        measure,
        [
            Slice(
                name,
                int(part.size),
                {system: _mean(of[:, part]) for system, of in values.items()},
                compared[at * len(pairs) : (at + 1) * len(pairs)],
            )
            for at, (name, part) in enumerate(zip(order, parts, strict=True))
        ],
    )


def _place(by: str, name: str, count: int) -> tuple[int]:
    """Lengths in their order, other labels the commonest first."""
    words = re.match(r"\d+", name) if by == "length" else None
    return (int(words[0]),) if words else (-count,)


def _mean(values_SQ: F64) -> float:
    return float(values_SQ.mean())

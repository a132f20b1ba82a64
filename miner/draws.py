"""Rows and columns of negatives, and draws with their spares on disk until a cap has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID, Negatives
from ..core.ids import I64
from ..core.store import read_array, write_part

Records = npt.NDArray[Any]

_ROWS = {"query_rows": "<i8", "pos_scores": "<f4", "positive_rows": "<i8"}
# the lists of a query, their types on disk, and what stands where there is no negative
_LISTS: dict[str, tuple[str, float]] = {
    "ids": ("<i8", PAD_ID),
    "scores": ("<f4", -np.inf),
    "ranks": ("<i4", 0),
    "source": ("u1", 0),
    "probabilities": ("<f4", 0.0),
    "tiers": ("u1", 0),
}


def beside(parts: Sequence[Negatives]) -> Negatives:
    """The columns of negatives of the same queries side by side, holes included."""
    if len(parts) == 1:
        return parts[0]
    sources = tuple(dict.fromkeys(name for p in parts for name in p.sources))
    numbers = [np.array([sources.index(s) for s in p.sources], dtype=np.uint8) for p in parts]
    lists: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in parts], axis=1)
        for name in _LISTS
        if name != "source"
    }
    source = [number[p.source] for number, p in zip(numbers, parts, strict=True)]
    return replace(parts[0], **lists, source=np.concatenate(source, axis=1), sources=sources)


def take_columns(negatives: Negatives, columns_Qn: I64) -> Negatives:
    """The negatives at `columns_Qn` int64 [Q, n]; nothing where it is -1."""
    none, at = columns_Qn < 0, np.maximum(columns_Qn, 0)
    lists: dict[str, Any] = {}
    for name, (_, empty) in _LISTS.items():
        values = getattr(negatives, name)
        found = np.take_along_axis(values, at, axis=1)
        lists[name] = np.where(none, values.dtype.type(empty), found)
    return replace(negatives, **lists)


def take_rows(negatives: Negatives, keep_Q: npt.NDArray[np.bool_]) -> Negatives:
    """The queries where `keep_Q` bool [Q] is true."""
    names = ("query_rows", "pos_scores", *_LISTS)
    kept: dict[str, Any] = {name: getattr(negatives, name)[keep_Q] for name in names}
    positives = negatives.positive_rows
    kept["positive_rows"] = None if positives is None else positives[keep_Q]
    return replace(negatives, **kept)


def write_draws(path: Path, negatives: Negatives) -> None:
    """Write negatives as one sealed array of records; `sources` and `generation` are not in it."""
    rows, width = negatives.ids.shape
    fields = [(name, kind, (width,)) for name, (kind, _) in _LISTS.items()]
    kinds = np.dtype([(name, kind) for name, kind in _ROWS.items()] + fields)
    records = np.empty(rows, dtype=kinds)
    for name in kinds.names or ():
        values = getattr(negatives, name)
        records[name] = PAD_ID if values is None else values
    write_part(path, records)


def read_draws(path: Path) -> Records:
    """Map what `write_draws` wrote: records [Q] with a field for each array of `Negatives`."""
    return read_array(path)


def to_negatives(records: Records, sources: Sequence[str], generation: int) -> Negatives:
    """Records as negatives in memory; inverse of `write_draws`."""
    arrays: dict[str, Any] = {
        name: np.ascontiguousarray(records[name]) for name in (*_ROWS, *_LISTS)
    }
    if (arrays["positive_rows"] == PAD_ID).any():
        arrays["positive_rows"] = None
    return Negatives(**arrays, sources=tuple(sources), generation=generation)

"""Joining the lists of several retrievers: union, round-robin, reciprocal ranks, scores.

Reciprocal rank fusion: Cormack, Clarke, Buettcher, SIGIR 2009. Scores of different retrievers are
not comparable, so score fusion first maps each list to 0..1 by its own lowest and highest score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..core.encoder import F32
from ..core.ids import I64

Fusion = Literal["union", "round_robin", "rrf", "score"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One retriever's lists: ids int64 [B, K] best first, -1 at the end; its own scores [B, K]."""

    ids: I64
    scores: F32
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Fused:
    """Joined lists, one entry for each document of a row, in no order; padded with -1.

    `source` uint8 [B, W] numbers the retriever that ranked the document best (ties: the first) and
    `source_rank` int32 [B, W] is its rank there, from 1; `values` float32 [B, W] are the fused
    scores, -inf at the padding.
    """

    ids: I64
    values: F32
    source: npt.NDArray[np.uint8]
    source_rank: npt.NDArray[np.int32]


def fuse(lists: Sequence[Ranked], how: Fusion, rrf_k: int = 60) -> Fused:
    """Join lists of the same B queries.

    `rrf`: sum of `weight / (rrf_k + rank)`. `score`: weighted sum of min-max scores. `round_robin`:
    rank 1 of each retriever, then rank 2, ...; the value is minus the place. `union`: the value is
    minus the best rank (the caller orders by similarity).
    """
    entries, value = _entries(lists, how, rrf_k)
    span = int(entries[1].max(initial=0)) + 1
    order = np.lexsort((entries[2], entries[3], entries[0] * span + entries[1]))
    rows, ids, source, rank = entries[:, order]
    value = value[order]
    first = np.ones(rows.size, dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]) | (ids[1:] != ids[:-1])
    starts = np.flatnonzero(first)
    if how in ("rrf", "score"):
        joined = np.add.reduceat(value, starts) if starts.size else value
    elif how == "round_robin":
        # in turns: the place of a document is its best rank, then its retriever
        joined = -(rank[starts] * float(len(lists)) + source[starts])
    else:
        joined = -rank[starts].astype(np.float64)
    return _pack(rows[starts], ids[starts], joined, source[starts], rank[starts], lists)


def _entries(
    lists: Sequence[Ranked], how: Fusion, rrf_k: int
) -> tuple[I64, npt.NDArray[np.float64]]:
    """Rows, ids, source numbers and ranks of all entries, int64 [4, E], and their values [E]."""
    entries, values = [], []
    for number, ranked in enumerate(lists):
        rows, columns = np.nonzero(ranked.ids >= 0)
        if how == "score":
            value = ranked.weight * _min_max(ranked)[rows, columns]
        else:
            value = ranked.weight / (rrf_k + columns + 1.0)
        source = np.full(rows.size, number)
        entries.append(np.stack((rows, ranked.ids[rows, columns], source, columns + 1)))
        values.append(value)
    return np.concatenate(entries, axis=1), np.concatenate(values)


def _min_max(ranked: Ranked) -> npt.NDArray[np.floating[Any]]:
    """Each list's scores mapped to 0..1; a list of equal scores becomes all 1."""
    real = ranked.ids >= 0
    scores = ranked.scores.astype(np.float64)
    low = np.where(real, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(real, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    spread = high - low
    flat = ~(spread > 0)
    safe = np.where(flat, 1.0, spread)
    shifted = np.where(real, scores, 0.0) - np.where(np.isfinite(low), low, 0.0)
    return np.where(flat, 1.0, shifted / safe)


def _pack(
    rows: I64,
    ids: I64,
    values: npt.NDArray[np.float64],
    source: I64,
    rank: I64,
    lists: Sequence[Ranked],
) -> Fused:
    count = np.bincount(rows, minlength=lists[0].ids.shape[0])
    at = np.arange(rows.size) - np.repeat(np.cumsum(count) - count, count)
    shape = (count.size, int(count.max(initial=0)))
    out = Fused(
        np.full(shape, -1, dtype=np.int64),
        np.full(shape, -np.inf, dtype=np.float32),
        np.zeros(shape, dtype=np.uint8),
        np.zeros(shape, dtype=np.int32),
    )
    out.ids[rows, at] = ids
    out.values[rows, at] = values
    out.source[rows, at] = source
    out.source_rank[rows, at] = rank
    return out

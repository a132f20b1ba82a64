"""SaHa batches: a query's row beside the rows of the owners of its hard documents.

SaHa, arXiv 2508.00955. In such a group each row's positive is a hard negative of the others, and
the owners are the least similar of several, so few of those are false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.rng import combine, stream
from .ngame import Points

Bool = npt.NDArray[np.bool_]
_SEEDS = 8


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of one epoch: `full` int64 [groups, top_k + 1], the query first, and `rest`.

    `rest` are the rows too few for a group; `filled` counts the random rows in the groups.
    """

    full: I64
    rest: I64
    filled: int


def saha_groups(
    points: Points, owners_NW: I64, top_k: int, mult: int, seed: int, epoch: int
) -> Groups:
    """Groups of a query and `top_k` others; every query stands in one group, or in the rest.

    `owners_NW` int64 [N, W] are the rows of the owners of each query's hard documents, by rank of
    the document, padded with -1; the query itself and repeats are passed over. Queries are taken in
    random order. Each takes the first `top_k * mult` owners that are in no group yet, and keeps the
    `top_k` least similar to it, ties to the lower id. Where there are fewer, random queries that
    are in no group fill it. The order of the rows decides nothing. Raises PyriteError unless
    top_k >= 1, mult >= 1 and top_k < N.
    """
    size = points.id_hashes.size
    if not (1 <= top_k < size and mult >= 1):
        raise PyriteError(
            f"saha: top_k={top_k}, mult={mult} and {size} queries; expected 1 <= top_k < queries"
            " and mult >= 1"
        )
    order = np.lexsort((points.rank, combine(stream(seed, epoch, _SEEDS), points.id_hashes)))
    free = np.ones(size, dtype=bool)
    groups: list[list[int]] = []
    filled = front = 0
    for row in order.tolist():
        if not free[row]:
            continue
        if size - (top_k + 1) * len(groups) <= top_k:
            break
        free[row] = False
        group = [row, *_owners(points, owners_NW[row], row, free, top_k, mult)]
        free[group] = False
        while len(group) <= top_k:
            while not free[order[front]]:
                front += 1
            free[order[front]] = False
            group.append(int(order[front]))
            filled += 1
        groups.append(group)
    full = np.array(groups, dtype=np.int64).reshape(-1, top_k + 1)
    return Groups(full, order[free[order]].astype(np.int64), filled)


def _owners(
    points: Points,
    owners_W: I64,
    row: int,
    free: Bool,
    top_k: int,
    mult: int,
) -> list[int]:
    """The free owners that `row` keeps, the least similar first."""
    known = [o for o in dict.fromkeys(owners_W.tolist()) if o >= 0 and free[o]]
    found = np.array(known[: top_k * mult], dtype=np.int64)
    vectors = points.vectors[found].astype(np.float64)
    # einsum adds up each row alone, whatever the number of rows
    similarity = np.einsum("wd,d->w", vectors, points.vectors[row].astype(np.float64))
    return [int(o) for o in found[np.lexsort((points.rank[found], similarity))][:top_k]]

"""NGAME batches: similar training pairs side by side, so that in-batch negatives are hard.

NGAME, arXiv 2207.04452: balanced 2-means cuts the queries into clusters of a given size, and a
batch is a random union of clusters. Every choice is a hash of (seed, epoch, id).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.rng import U64, combine, stream
from ..core.tables import Qrels

DOUBLE_AT = (10, 20, 25, 50, 75, 100, 125, 150, 200)
_POINTS, _CLUSTERS, _LEVELS = 4, 5, 6
_ROUNDS = 10
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Points:
    """What is put into batches: training queries or pairs.

    `vectors` float32 [N, D]; `id_hashes` uint64 [N]; `rank` int64 [N], places in ascending id
    order. The order of the rows decides nothing.
    """

    vectors: F32
    id_hashes: U64
    rank: I64


@dataclass(frozen=True, slots=True)
class Batches:
    """Rows of one epoch: `full` int64 [batches, size], and `rest`, those too few for a batch."""

    full: I64
    rest: I64


def cluster_size(epoch: int, batch: int, double_at: Sequence[int] = DOUBLE_AT) -> int:
    """1 at first, twice as large from each epoch of `double_at` on, never above `batch`."""
    return min(1 << sum(epoch >= e for e in double_at), batch)


def ngame_batches(points: Points, batch: int, cluster: int, seed: int, epoch: int) -> Batches:
    """Clusters of at most `cluster` points in random order, cut into batches of `batch`.

    Each point stands in one batch or in the rest. `cluster` = 1 is a random permutation. Where
    `batch` is no multiple of the cluster sizes, a cluster may be cut by a batch's end. Raises
    PyriteError unless 1 <= cluster <= batch <= N.
    """
    size = points.id_hashes.size
    if not 1 <= cluster <= batch <= size:
        raise PyriteError(
            f"ngame: cluster={cluster}, batch={batch} and {size} points; expected"
            " 1 <= cluster <= batch <= points"
        )
    labels = balanced_clusters(points, cluster, seed, epoch)
    within = combine(stream(seed, epoch, _POINTS), points.id_hashes)
    between = combine(stream(seed, epoch, _CLUSTERS), labels.astype(np.uint64))
    order = np.lexsort((points.rank, within, labels, between)).astype(np.int64)
    whole = size // batch * batch
    return Batches(order[:whole].reshape(-1, batch), order[whole:])


def balanced_clusters(points: Points, size: int, seed: int, epoch: int) -> I64:
    """Cluster of each point, int64 [N], numbered from 0; sizes differ by at most 1.

    The points are halved again and again by 2-means with unit centroids, all parts of a level at
    once, until no part has over `size` points (`size` = 1: every point alone, and the vectors do
    not matter). Memory: a copy of the vectors, and centroids in float64, which take several times
    as much where `size` is 2. Raises PyriteError if size < 1.
    """
    if size < 1:
        raise PyriteError(f"ngame: cluster={size} must be at least 1")
    total = points.id_hashes.size
    order = np.argsort(points.rank, kind="stable")
    starts = np.arange(total) if size == 1 else np.zeros(1, dtype=np.int64)
    level = 0
    while total and np.diff(np.append(starts, total)).max() > size:
        root = combine(stream(seed, epoch, _LEVELS), np.asarray(level, dtype=np.uint64))
        keys = combine(root, points.id_hashes)
        order, starts = _halve(points.vectors, order, starts, keys, points.rank)
        level += 1
    labels = np.empty(total, dtype=np.int64)
    labels[order] = np.repeat(np.arange(starts.size), np.diff(np.append(starts, total)))
    return labels


def _halve(vectors: F32, order_N: I64, starts: I64, keys_N: U64, rank_N: I64) -> tuple[I64, I64]:
    """Split every part in two: the points of `order_N`, parts beginning at `starts` -> the same.

    The first half gets the odd point. The first centroids are the two points of the smallest key.
    """
    sizes = np.diff(np.append(starts, order_N.size))
    part = np.repeat(np.arange(starts.size), sizes)
    order = order_N[np.lexsort((rank_N[order_N], keys_N[order_N], part))]
    ties = np.arange(order.size)
    rows = vectors[order]
    borders = np.stack((starts, starts + (sizes + 1) // 2), axis=1).ravel()
    left, right = _unit(rows[starts]), _unit(rows[starts + 1])
    place = ties
    for _ in range(_ROUNDS):
        lean = _lean(rows, left - right, part)
        before, place = place, np.lexsort((ties, -lean, part))
        if np.array_equal(before, place):
            break
        halves = _sums(rows, place, borders)
        left, right = _unit(halves[::2]), _unit(halves[1::2])
    return order[place], borders


def _lean(rows: F32, axes: npt.NDArray[np.float64], part: I64) -> npt.NDArray[np.float64]:
    """Inner product of each row with the axis of its part, float64 [N].

    einsum adds up each row alone; a matrix product would round by the number of rows and threads.
    """
    out = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        here = slice(start, start + _ROWS)
        out[here] = np.einsum("nd,nd->n", rows[here].astype(np.float64), axes[part[here]])
    return out


def _sums(rows: F32, place: I64, borders: I64) -> npt.NDArray[np.float64]:
    """Sum of the rows of each half, float64 [halves, D]; half h is `place[borders[h]:...]`."""
    half = np.repeat(np.arange(borders.size), np.diff(np.append(borders, place.size)))
    out = np.zeros((borders.size, rows.shape[1]))
    for start in range(0, place.size, _ROWS):
        here = half[start : start + _ROWS]
        first = np.flatnonzero(np.append(True, here[1:] != here[:-1]))
        block = rows[place[start : start + _ROWS]].astype(np.float64)
        out[here[first]] += np.add.reduceat(block, first, axis=0)
    return out


def _unit(sums: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    values = sums.astype(np.float64)
    norms = np.sqrt(np.square(values).sum(axis=1, keepdims=True))
    return np.asarray(values / np.where(norms > 0, norms, 1.0))


def known_positive_pairs(query_rows_B: I64, doc_rows_B: I64, qrels: Qrels) -> npt.NDArray[np.bool_]:
    """Where another pair's document is a known positive of the query: bool [B, B].

    Row i, column j: document j against query i. The diagonal, each pair's own positive, is False.
    Similar points share labels, so these would be false negatives.
    """
    docs = np.broadcast_to(doc_rows_B, (query_rows_B.size, doc_rows_B.size))
    known = qrels.is_positive(query_rows_B, docs)
    return np.asarray(known & ~np.eye(query_rows_B.size, dtype=bool))

"""The highest scores of many rows, from tiles of a score matrix that is never held whole.

A tile is read once, as the maxima of groups of its columns. The `width`-th highest group maximum
so far is a floor: `width` documents reach it, so no document below it can be among the best. Only
groups that reach the floor are opened. The cost beside that one reading grows with log N, not N.
"""

from __future__ import annotations

import numpy as np
import torch

from ..core.encoder import F32
from ..core.ids import I64

_GROUP = 16
# above these shares the top of the whole tile is taken: equal scores would flood the sieve
_DENSE_GROUPS = 2
_DENSE = 16
_KEPT = 4  # entries kept for each one asked for, before they are cut down


class Sieve:
    """Top `width` of each of B rows; tiles are added in any order of their columns."""

    def __init__(self, rows: int, width: int, dtype: torch.dtype) -> None:
        self._width = width
        self._highest = torch.full((rows, width), -torch.inf, dtype=dtype)
        self._rows: list[I64] = []
        self._columns: list[I64] = []
        self._values: list[F32] = []
        self._waiting = 0

    def add(self, scores_BC: torch.Tensor, first: int) -> None:
        """Take in the columns `first .. first + C` of the matrix."""
        group = min(_GROUP, scores_BC.shape[1] // (2 * self._width))
        if group < 2:
            self._add_top(scores_BC, first)
            return
        stride = scores_BC.shape[1] // group
        self._add_groups(scores_BC[:, : group * stride], first, group, stride)
        rest = scores_BC[:, group * stride :]
        if rest.shape[1]:
            self._add_top(rest, first + group * stride)

    def best(self) -> tuple[I64, F32]:
        """Ids int64 [B, W] and scores float32 [B, W], highest first, W = min(width, columns)."""
        self._cut()
        rows = self._highest.shape[0]
        found = self._waiting // rows
        return self._columns[0].reshape(rows, found), self._values[0].reshape(rows, found)

    def _add_groups(self, scores_BC: torch.Tensor, first: int, group: int, stride: int) -> None:
        # group j is the columns j, j + stride, ...: neighbours are often alike, so they are spread
        maxima = scores_BC.view(-1, group, stride).amax(dim=1)
        highest, floor = self._highest, self._floor()
        if bool(torch.isneginf(floor).any()):
            highest = self._raised(maxima)
            floor = highest.amin(dim=1)
        rows, groups = _places(maxima >= floor[:, None])
        if highest is self._highest:
            found = maxima[rows, groups]
            highest = self._raised(_as_matrix(rows, found, maxima.shape[0]))
            floor = highest.amin(dim=1)
            still = found >= floor[rows]
            rows, groups = rows[still], groups[still]
        if rows.numel() * _DENSE_GROUPS > maxima.numel():
            self._add_top(scores_BC, first)
            return
        first_member = rows * scores_BC.shape[1] + groups
        values = torch.take(scores_BC, first_member[:, None] + torch.arange(group) * stride)
        above = values >= floor[rows, None]
        if int(above.sum()) * _DENSE > scores_BC.numel():
            self._add_top(scores_BC, first)
            return
        self._highest = highest
        at, member = _places(above)
        self._keep(rows[at], first + groups[at] + member * stride, values[at, member])

    def _add_top(self, scores_BC: torch.Tensor, first: int) -> None:
        """The top of each row; for tiles with few columns or much above the floor."""
        take = min(self._width, scores_BC.shape[1])
        values, columns = torch.topk(scores_BC, take, dim=1, sorted=False)
        self._highest = self._raised(values)
        rows, at = _places(values >= self._floor()[:, None])
        self._keep(rows, first + columns[rows, at], values[rows, at])

    def _floor(self) -> torch.Tensor:
        return self._highest.amin(dim=1)

    def _raised(self, values_BC: torch.Tensor) -> torch.Tensor:
        """`values_BC` are scores of distinct documents, and of none that was counted before."""
        joined = torch.cat((self._highest, values_BC), dim=1)
        return torch.topk(joined, self._width, dim=1, sorted=False)[0]

    def _keep(self, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor) -> None:
        self._rows.append(rows.numpy())
        self._columns.append(columns.numpy())
        self._values.append(values.float().numpy())
        self._waiting += rows.numel()
        if self._waiting > _KEPT * self._highest.numel():
            self._cut()

    def _cut(self) -> None:
        """Cut what waits down to the top `width` of each row, in order."""
        rows = np.concatenate([np.empty(0, dtype=np.int64), *self._rows])
        columns = np.concatenate([np.empty(0, dtype=np.int64), *self._columns])
        values = np.concatenate([np.empty(0, dtype=np.float32), *self._values])
        above = np.flatnonzero(values >= self._floor().float().numpy()[rows])
        rows, columns, values = rows[above], columns[above], values[above]
        order = np.argsort((rows << 32) - _ordered_bits(values))
        rows = rows[order]
        starts = np.searchsorted(rows, np.arange(self._highest.shape[0]))
        kept = np.arange(rows.size) - starts[rows] < self._width
        order = order[kept]
        self._rows, self._columns = [rows[kept]], [columns[order]]
        self._values, self._waiting = [values[order]], order.size


def _places(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of what is true, in row order."""
    # NumPy searches flat arrays, and divides by one number, much faster than torch does
    flat = np.flatnonzero(mask.numpy().ravel())
    rows = flat // mask.shape[1]
    return torch.from_numpy(rows), torch.from_numpy(flat - rows * mask.shape[1])


def _as_matrix(rows: torch.Tensor, values: torch.Tensor, count: int) -> torch.Tensor:
    """The values of each row, padded with -inf; `rows` are in order."""
    each = torch.bincount(rows, minlength=count)
    place = torch.arange(rows.numel()) - torch.repeat_interleave(each.cumsum(0) - each, each)
    out = values.new_full((count, int(each.max())), -torch.inf)
    out[rows, place] = values
    return out


def _ordered_bits(values: F32) -> I64:
    """Whole numbers in the order of `values`."""
    bits = values.view(np.int32)
    return np.asarray(bits ^ ((bits >> 31) & 0x7FFFFFFF), dtype=np.int64)

"""Exact search as tiles of matrix products with a running top-k, on CPU or CUDA.

The scores of a tile are read once: groups of 64 whose maximum is not above a row's threshold are
passed over, and what is above is set aside. The sets are merged only when the number of documents
seen has doubled, so the cost beside the matrix product grows with log N and not with N. A tile
with much above its thresholds is merged at once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from .proposers import UNIT_ROUNDOFF, float32_error

_GROUP = 64
_SPARSE = 16  # at most one entry in this many is set aside
_TILE_QUERIES = 1024
_TILE_DOCS = 8192
_CUDA_TILE_DOCS = 262_144
_HALF_ROUNDOFF = 2.0**-11


@dataclass(slots=True)
class _Best:
    """Running top `width` of some queries: scores [B, width], ids [B, width], and what is new."""

    scores: torch.Tensor
    ids: torch.Tensor
    rows: list[I64] = field(default_factory=list)
    columns: list[I64] = field(default_factory=list)
    values: list[F32] = field(default_factory=list)
    waiting: int = 0

    def thresholds(self) -> torch.Tensor:
        return self.scores.amin(dim=1)

    def merge_tile(self, scores: torch.Tensor, first: int) -> None:
        """Merge all columns of a tile."""
        take = min(self.scores.shape[1], scores.shape[1])
        top, columns = torch.topk(scores, take, dim=1, sorted=False)
        self._keep(top, columns + first)

    def add(self, rows: I64, columns: I64, values: F32) -> None:
        """Set entries aside until `merge`; `rows` need not be sorted."""
        self.rows.append(rows)
        self.columns.append(columns)
        self.values.append(values)
        self.waiting += rows.size

    def merge(self) -> None:
        """Merge what was set aside, as one padded matrix."""
        if not self.waiting:
            return
        rows, values = np.concatenate(self.rows), np.concatenate(self.values)
        order = np.lexsort((-values, rows))
        count = np.bincount(rows, minlength=self.scores.shape[0])
        at = np.arange(rows.size) - np.repeat(np.cumsum(count) - count, count)
        # one row with many entries must not widen the matrix of all of them
        columns = min(int(count.max()), self.scores.shape[1])
        order, at = order[at < columns], at[at < columns]
        scores = np.full((count.size, columns), -np.inf, dtype=np.float32)
        ids = np.full(scores.shape, -1, dtype=np.int64)
        scores[rows[order], at] = values[order]
        ids[rows[order], at] = np.concatenate(self.columns)[order]
        self.rows, self.columns, self.values, self.waiting = [], [], [], 0
        self._keep(torch.from_numpy(scores), torch.from_numpy(ids))

    def _keep(self, scores: torch.Tensor, ids: torch.Tensor) -> None:
        joined = torch.cat((self.scores, scores), dim=1)
        width = self.scores.shape[1]
        self.scores, places = torch.topk(joined, width, dim=1, sorted=False)
        self.ids = torch.cat((self.ids, ids), dim=1).gather(1, places)


class TorchProposer:
    """A `Proposer` of torch matrix products."""

    def __init__(
        self, corpus: Embeddings, threads: int = 0, device: str = "cpu", float16: bool = False
    ) -> None:
        """Raises PyriteError for a CUDA device that is missing, or half precision on a CPU."""
        if threads:
            torch.set_num_threads(threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise PyriteError(
                f"retrieve.index.device={device} but torch sees no CUDA device; set"
                " retrieve.index.device=cpu"
            )
        if float16 and device == "cpu":
            raise PyriteError("retrieve.index.float16=true needs a CUDA device; set it to false")
        self._corpus = corpus
        self._device = torch.device(device)
        self._float16 = float16

    def propose(self, queries_BD: F32, width: int) -> tuple[I64, F32]:
        ids = np.empty((queries_BD.shape[0], width), dtype=np.int64)
        floor = np.empty(queries_BD.shape[0], dtype=np.float32)
        for start in range(0, queries_BD.shape[0], _TILE_QUERIES):
            part = slice(start, start + _TILE_QUERIES)
            queries = torch.from_numpy(np.ascontiguousarray(queries_BD[part]))
            search = self._on_cpu if self._device.type == "cpu" else self._on_cuda
            best = search(queries, width)
            ids[part] = best.ids.cpu().numpy()
            floor[part] = best.thresholds().cpu().numpy()
        return ids, floor

    def relative_error(self, dimension: int) -> float:
        if not self._float16:
            return float32_error(dimension)
        # both factors and the result are rounded to half precision, the sum is float32
        return 1.01 * (3 * _HALF_ROUNDOFF + dimension * UNIT_ROUNDOFF)

    def memory_bytes(self, batch: int, width: int) -> int:
        rows = min(batch, _TILE_QUERIES)
        columns = _TILE_DOCS if self._device.type == "cpu" else _CUDA_TILE_DOCS
        # beside the scores: copies of the groups above a threshold, and what is set aside
        each = 16 if self._device.type == "cpu" else 5
        tile = rows * min(columns, len(self._corpus)) * each
        merging = 12 * width * (batch + 8 * rows) + 160 * width * rows
        return tile + merging + 4 * rows * self._corpus.dimension

    def _on_cpu(self, queries_BD: torch.Tensor, width: int) -> _Best:
        best = self._empty(queries_BD.shape[0], width)
        buffer = torch.empty((queries_BD.shape[0], _TILE_DOCS))
        seen, merge_at = 0, 0
        for first, block in self._corpus.blocks(_TILE_DOCS):
            scores = buffer[:, : block.shape[0]]
            if block.shape[0] < _TILE_DOCS:
                scores = torch.empty((queries_BD.shape[0], block.shape[0]))
            torch.matmul(queries_BD, _tensor(block).T, out=scores)
            if seen < width:
                best.merge_tile(scores, first)
            else:
                _set_aside(best, scores, first)
            seen += block.shape[0]
            if seen >= merge_at or best.waiting > 2 * best.scores.numel():
                best.merge()
                merge_at = 2 * seen
        best.merge()
        return best

    def _on_cuda(self, queries_BD: torch.Tensor, width: int) -> _Best:
        dtype = torch.float16 if self._float16 else torch.float32
        queries = queries_BD.to(self._device, dtype)
        best = self._empty(queries_BD.shape[0], width)
        for first, block in self._corpus.blocks(_CUDA_TILE_DOCS):
            tile = _tensor(block).to(self._device, dtype)
            best.merge_tile((queries @ tile.T).float(), first)
        return best

    def _empty(self, rows: int, width: int) -> _Best:
        scores = torch.full((rows, width), -torch.inf, device=self._device)
        return _Best(scores, torch.full((rows, width), -1, device=self._device))


def _tensor(block_CD: F32) -> torch.Tensor:
    """A tensor over the same memory, which is only read."""
    with warnings.catch_warnings():
        # torch has no read-only tensors and warns of maps that may not be written
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(block_CD)


def _set_aside(best: _Best, scores_BC: torch.Tensor, first: int) -> None:
    """Find the entries above each row's threshold, group by group."""
    thresholds = best.thresholds()
    whole = scores_BC.shape[1] // _GROUP * _GROUP
    if whole:
        grouped = scores_BC[:, :whole].view(-1, whole // _GROUP, _GROUP)
        above = (grouped.amax(dim=-1) > thresholds[:, None]).numpy()
        rows, groups = np.nonzero(above)
        values = grouped[torch.from_numpy(rows), torch.from_numpy(groups)]
        hits = (values > thresholds[torch.from_numpy(rows), None]).numpy()
        if np.count_nonzero(hits) * _SPARSE > scores_BC.numel():
            # scores that rise along the corpus: what is set aside would outgrow the tile
            best.merge_tile(scores_BC, first)
            return
        at, column = np.nonzero(hits)
        columns = groups[at] * _GROUP + column
        best.add(rows[at], first + columns, values.numpy()[at, column])
    rest = scores_BC[:, whole:]
    if rest.shape[1]:
        rows, columns = np.nonzero((rest > thresholds[:, None]).numpy())
        best.add(rows, first + whole + columns, rest.numpy()[rows, columns])

"""Exact inner-product search with FAISS, corpus block by corpus block."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import numpy.typing as npt

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from .topk import RESCORE_BYTES, exact_scores, order_rows

# float32 accumulation of D products is off by at most D * 2^-24 * |q| |d| (plus second order);
# rounding the exact score to float32 adds one more 2^-24
_UNIT_ROUNDOFF = 2.0**-24
_MARGIN = 32
_PROPOSALS = 1 << 20  # rows x width proposed at a time

Propose = Callable[[F32, F32, int], tuple[F32, I64]]


def faiss_propose(queries_BD: F32, block_CD: F32, k: int) -> tuple[F32, I64]:
    """Top `k` of one corpus block by FAISS: (scores [B, k], rows inside the block [B, k])."""
    scores, rows = faiss.knn(
        np.ascontiguousarray(queries_BD),
        np.ascontiguousarray(block_CD),
        k,
        metric=faiss.METRIC_INNER_PRODUCT,
    )
    return scores, rows.astype(np.int64)


class FlatIndex:
    """Exact search over mapped embeddings; nothing is copied but one block at a time."""

    def __init__(
        self, corpus: Embeddings, rank_N: I64, threads: int = 0, propose: Propose = faiss_propose
    ) -> None:
        """`threads` 0 leaves FAISS's own choice."""
        if threads:
            faiss.omp_set_num_threads(threads)
        self._corpus = corpus
        self._rank_N = rank_N
        self._propose = propose
        self._max_norm = max(
            float(np.linalg.norm(block, axis=1).max(initial=0.0)) for _, block in corpus.blocks()
        )

    def __len__(self) -> int:
        return len(self._corpus)

    def search(self, queries_BD: F32, k: int) -> tuple[I64, F32]:
        """The true top `k`: ids int64 [B, k] and scores float32 [B, k], in the total order.

        FAISS proposes k + 32; they are scored again in a fixed order. A query whose k-th score is
        not above everything left out by more than the rounding bound is searched again, wider, so
        ties at the border are settled by id and not by luck. Raises PyriteError if k > N or the
        dimensions differ.
        """
        self._check(queries_BD, k)
        ids = np.empty((queries_BD.shape[0], k), dtype=np.int64)
        scores = np.empty((queries_BD.shape[0], k), dtype=np.float32)
        open_rows = np.arange(queries_BD.shape[0])
        width = min(k + _MARGIN, len(self))
        while open_rows.size:
            still_open = []
            step = max(1, _PROPOSALS // width)
            for start in range(0, open_rows.size, step):
                rows = open_rows[start : start + step]
                ids[rows], scores[rows], settled = self._settle(queries_BD[rows], k, width)
                still_open.append(rows[~settled])
            open_rows = np.concatenate(still_open)
            width = min(width * 4, len(self))
        return ids, scores

    def _settle(
        self, queries_BD: F32, k: int, width: int
    ) -> tuple[I64, F32, npt.NDArray[np.bool_]]:
        """Top `k` among `width` proposals, and whether nothing left out could belong to it."""
        found, floor_B = self._proposals(queries_BD, width)
        exact = exact_scores(queries_BD, self._corpus, found)
        ids, scores = order_rows(found, exact, self._rank_N, k)
        if width == len(self):
            return ids, scores, np.ones(len(ids), dtype=bool)
        return ids, scores, scores[:, -1] > floor_B.astype(np.float64) + self._slack(queries_BD)

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of one `search` beside the mapped corpus, in bytes."""
        block = max(b.nbytes for _, b in self._corpus.blocks())
        proposals = 4 * 12 * max(min(_PROPOSALS, batch * len(self)), len(self))
        return block + batch * (8 * self._corpus.dimension + 12 * k) + proposals + RESCORE_BYTES

    def _check(self, queries_BD: F32, k: int) -> None:
        if not 1 <= k <= len(self):
            raise PyriteError(
                f"k={k} but the corpus has {len(self)} documents; set retrieve.depth to at most"
                f" {len(self)}"
            )
        if queries_BD.shape[1] != self._corpus.dimension:
            raise PyriteError(
                f"queries have dimension {queries_BD.shape[1]}, the index"
                f" {self._corpus.dimension}; encode both with the same model"
            )

    def _slack(self, queries_BD: F32) -> npt.NDArray[np.float64]:
        norms = np.linalg.norm(queries_BD, axis=1).astype(np.float64)
        return np.asarray(
            1.01 * (queries_BD.shape[1] + 1) * _UNIT_ROUNDOFF * norms * self._max_norm
        )

    def _proposals(self, queries_BD: F32, width: int) -> tuple[I64, F32]:
        """Approximate top `width` over all blocks, and the lowest score among them, [B]."""
        ids = np.empty((queries_BD.shape[0], 0), dtype=np.int64)
        scores = np.empty((queries_BD.shape[0], 0), dtype=np.float32)
        for first, block in self._corpus.blocks():
            found, rows = self._propose(queries_BD, block, min(width, block.shape[0]))
            ids = np.concatenate((ids, np.where(rows < 0, -1, rows + first)), axis=1)
            scores = np.concatenate((scores, found), axis=1)
            if ids.shape[1] > width:
                keep = np.argpartition(-scores, width - 1, axis=1)[:, :width]
                ids = np.take_along_axis(ids, keep, axis=1)
                scores = np.take_along_axis(scores, keep, axis=1)
        return ids, scores.min(axis=1)

"""Exact inner-product search: a proposer finds, the correctly rounded scores decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from .proposers import Proposer
from .topk import RESCORE_BYTES, exact_scores, order_rows

_MARGIN = 32
_PROPOSALS = 1 << 21  # rows x width proposed at a time


def proposed(k: int, documents: int) -> int:
    """How many documents are proposed for the top `k`."""
    return min(k + max(_MARGIN, k // 4), documents)


def flat_memory(
    batch: int, k: int, documents: int, dimension: int, proposer: Callable[[int, int], int]
) -> int:
    """Bound of one `FlatIndex.search` beside the mapped corpus, in bytes.

    `proposer` bounds the proposals of so many rows at such a width.
    """
    width = proposed(k, documents)
    rows = max(1, min(batch, _PROPOSALS // width))
    queries = batch * (8 * dimension + 12 * k)
    # a tied border may widen one query to the whole corpus
    widest = 4 * 12 * max(rows * width, documents)
    return queries + widest + proposer(rows, width) + RESCORE_BYTES


class FlatIndex:
    """Exact search over mapped embeddings; nothing is copied but one block at a time."""

    def __init__(self, corpus: Embeddings, rank_N: I64, proposer: Proposer) -> None:
        """`rank_N` [N] is each corpus row's place in ascending id order."""
        self._corpus = corpus
        self._rank_N = rank_N
        self._proposer = proposer

    def __len__(self) -> int:
        return len(self._corpus)

    def search(self, queries_BD: F32, k: int) -> tuple[I64, F32]:
        """The true top `k`: ids int64 [B, k] and scores float32 [B, k], in the total order.

        The proposer offers at least k + 32; they are scored again, correctly rounded. A query
        whose k-th score is not above all that may have been left out is searched again, first
        with a smaller rounding error, then wider: so ties at the border are settled by id and not
        by luck. Raises PyriteError if k > N or the dimensions differ.
        """
        check_search(len(self), self._corpus.dimension, queries_BD, k)
        ids = np.empty((queries_BD.shape[0], k), dtype=np.int64)
        scores = np.empty((queries_BD.shape[0], k), dtype=np.float32)
        open_rows = np.arange(queries_BD.shape[0])
        width = self._width(k)
        proposer = self._proposer
        while open_rows.size:
            still_open = []
            step = max(1, _PROPOSALS // width)
            for start in range(0, open_rows.size, step):
                rows = open_rows[start : start + step]
                ids[rows], scores[rows], settled = self._settle(
                    queries_BD[rows], k, width, proposer
                )
                still_open.append(rows[~settled])
            open_rows = np.concatenate(still_open)
            closer = proposer.closer()
            if closer is None:
                width = min(width * 4, len(self))
            proposer = closer or proposer
        return ids, scores

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of one `search` beside the mapped corpus, in bytes."""
        return flat_memory(batch, k, len(self), self._corpus.dimension, self._proposer.memory_bytes)

    def _width(self, k: int) -> int:
        return proposed(k, len(self))

    def _settle(
        self, queries_BD: F32, k: int, width: int, proposer: Proposer
    ) -> tuple[I64, F32, npt.NDArray[np.bool_]]:
        """Top `k` among `width` proposals, and whether nothing left out could belong to it."""
        found, floor_B = proposer.propose(queries_BD, width)
        exact = exact_scores(queries_BD, self._corpus, found, proposer.largest)
        ids, scores = order_rows(found, exact, self._rank_N, k)
        if width == len(self):
            return ids, scores, np.ones(len(ids), dtype=bool)
        return ids, scores, scores[:, -1] > proposer.ceiling(queries_BD, floor_B)


def check_search(size: int, dimension: int, queries_BD: F32, k: int) -> None:
    """Raise PyriteError if `k` is outside 1..N or the queries have another dimension."""
    if not 1 <= k <= size:
        raise PyriteError(
            f"k={k} but the corpus has {size} documents; set retrieve.depth to at most {size}"
        )
    if queries_BD.shape[1] != dimension:
        raise PyriteError(
            f"queries have dimension {queries_BD.shape[1]}, the index {dimension}; encode both"
            " with the same model"
        )

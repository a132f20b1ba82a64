"""Proposers: the fast, rounded half of exact search, on any device.

A proposer finds the `width` highest scores up to its own rounding error and says how large that
error can be. `FlatIndex` scores the proposals again and decides which of them are certain.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

import faiss
import numpy as np
import numpy.typing as npt

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from .config import KEY

F64 = npt.NDArray[np.float64]
UNIT_ROUNDOFF = 2.0**-24
FAISS_GPU_MAX_K = 2048
NORM_ROWS = 4096  # small enough for the processor cache
_BLOCK_ROWS = 65_536

BlockSearch = Callable[[F32, F32, int], tuple[F32, I64]]


class Proposer(Protocol):
    """Approximate top `width` of a whole corpus by inner product."""

    largest: float
    """A bound on the norms of the documents."""

    def propose(self, queries_BD: F32, width: int) -> tuple[I64, F32]:
        """Ids int64 [B, width] in any order, and the lowest score among them, float32 [B].

        Every document left out has an approximate score of at most that floor.
        """

    def ceiling(self, queries_BD: F32, floor_B: F32) -> F64:
        """No document left out under `floor_B` has a true score above it, float64 [B]."""

    def closer(self) -> Proposer | None:
        """One with a smaller error, for the queries that this one leaves open; None at the end."""

    def memory_bytes(self, batch: int, width: int) -> int:
        """Bound of one call, beside the mapped corpus."""


def float32_error(dimension: int) -> float:
    """Bound on |computed - true| / (|query| |document|): float32 sums in any order."""
    return 1.01 * (dimension + 1) * UNIT_ROUNDOFF


def norms(vectors_ND: F32) -> F64:
    """Euclidean norms, float64 [N]."""
    squares = np.einsum("nd,nd->n", vectors_ND, vectors_ND).astype(np.float64)
    return np.asarray(np.sqrt(squares), dtype=np.float64)


def largest_norm(corpus: Embeddings) -> float:
    """The largest norm of a corpus, read once."""
    return max(float(norms(block).max(initial=0.0)) for _, block in corpus.blocks(NORM_ROWS))


def keep_best(ids_BW: I64, scores_BW: F32, width: int) -> tuple[I64, F32]:
    """The `width` highest of each row, in any order."""
    if ids_BW.shape[1] <= width:
        return ids_BW, scores_BW
    keep = np.argpartition(-scores_BW, width - 1, axis=1)[:, :width]
    return np.take_along_axis(ids_BW, keep, axis=1), np.take_along_axis(scores_BW, keep, axis=1)


def faiss_knn(queries_BD: F32, block_CD: F32, k: int) -> tuple[F32, I64]:
    """Top `k` of one block by FAISS on the CPU: (scores [B, k], rows of the block [B, k])."""
    scores, rows = faiss.knn(
        np.ascontiguousarray(queries_BD),
        np.ascontiguousarray(block_CD),
        k,
        metric=faiss.METRIC_INNER_PRODUCT,
    )
    return scores, rows.astype(np.int64)


def gpu_knn(device: int) -> BlockSearch:
    """`faiss_knn` on one GPU; `k` is at most 2048 there."""
    resources = faiss.StandardGpuResources()

    def search(queries_BD: F32, block_CD: F32, k: int) -> tuple[F32, I64]:
        scores, rows = faiss.knn_gpu(
            resources,
            np.ascontiguousarray(queries_BD),
            np.ascontiguousarray(block_CD),
            k,
            metric=faiss.METRIC_INNER_PRODUCT,
            device=device,
        )
        return scores, rows.astype(np.int64)

    return search


def deep_search(
    search: BlockSearch, queries_BD: F32, block_CD: F32, k: int, max_k: int
) -> tuple[F32, I64]:
    """Top `k` of a block with a `search` that can return at most `max_k` at a time.

    The block is cut into parts that are searched alone and merged. Where all `max_k` results of a
    part are needed, it may hold more: that part is cut again.
    """
    size = block_CD.shape[0]
    if k <= max_k or size <= max_k:
        return search(queries_BD, block_CD, min(k, size))
    number = min(2 * -(-k // max_k), size)
    # plain integers: FAISS takes no NumPy ones
    borders = [int(b) for b in np.linspace(0, size, number + 1)]
    parts = list(itertools.pairwise(borders))
    found = [search(queries_BD, block_CD[a:b], min(max_k, b - a)) for a, b in parts]
    while True:
        scores = np.concatenate([s for s, _ in found], axis=1)
        rows = np.concatenate([r + a for (a, _), (_, r) in zip(parts, found, strict=True)], axis=1)
        best_rows, best = keep_best(rows, scores, k)
        floor = best.min(axis=1)
        for at, ((a, b), (part_scores, _)) in enumerate(zip(parts, found, strict=True)):
            cut_short = part_scores.shape[1] < min(k, b - a)
            if cut_short and (part_scores.min(axis=1) >= floor).any():
                found[at] = deep_search(search, queries_BD, block_CD[a:b], k, max_k)
                break
        else:
            return best, best_rows


def faiss_memory(batch: int, width: int, documents: int, dimension: int) -> int:
    """Bound of one `FaissProposer.propose` beside the mapped corpus, in bytes."""
    return 4 * dimension * (min(_BLOCK_ROWS, documents) + batch) + 4 * 12 * batch * width


class FaissProposer:
    """Exact search by FAISS, block by block, on the CPU or on one GPU."""

    def __init__(
        self, corpus: Embeddings, threads: int = 0, device: str = "cpu", key: str = KEY
    ) -> None:
        """`threads` 0 leaves FAISS's own choice.

        Raises PyriteError for a GPU that is missing, naming the section `key`.
        """
        if threads:
            faiss.omp_set_num_threads(threads)
        self._corpus = corpus
        self.largest = largest_norm(corpus)
        self._search: BlockSearch = faiss_knn
        self._max_k = max(len(corpus), 1)
        if device != "cpu":
            gpus = faiss_gpus(device, f"{key}.device")
            self._search, self._max_k = gpu_knn(gpus[0]), FAISS_GPU_MAX_K

    def propose(self, queries_BD: F32, width: int) -> tuple[I64, F32]:
        ids = np.empty((queries_BD.shape[0], 0), dtype=np.int64)
        scores = np.empty((queries_BD.shape[0], 0), dtype=np.float32)
        for first, block in self._corpus.blocks(_BLOCK_ROWS):
            k = min(width, block.shape[0])
            found, rows = deep_search(self._search, queries_BD, block, k, self._max_k)
            ids = np.concatenate((ids, np.where(rows < 0, -1, rows + first)), axis=1)
            scores = np.concatenate((scores, found), axis=1)
            ids, scores = keep_best(ids, scores, width)
        return ids, scores.min(axis=1)

    def ceiling(self, queries_BD: F32, floor_B: F32) -> F64:
        error = float32_error(queries_BD.shape[1]) * self.largest
        return np.asarray(floor_B + error * norms(queries_BD), dtype=np.float64)

    def closer(self) -> Proposer | None:
        return None

    def memory_bytes(self, batch: int, width: int) -> int:
        return faiss_memory(batch, width, len(self._corpus), self._corpus.dimension)


def faiss_gpus(device: str, key: str) -> list[int]:
    """GPU numbers of `cuda`, `cuda:1` or `cuda:0,cuda:1`, the value of the configuration's `key`.

    Raises PyriteError if FAISS was built without GPU support or the GPU is missing.
    """
    if not hasattr(faiss, "StandardGpuResources"):
        raise PyriteError(
            f"{key}={device} but this FAISS has no GPU support: pip uninstall"
            f" faiss-cpu and pip install 'pyrite[gpu]', or set {key}=cpu"
        )
    numbers = []
    for part in device.split(","):
        name, _, number = part.strip().partition(":")
        if name != "cuda" or (number and not number.isdigit()):
            raise PyriteError(f"{key}={device!r}: expected cpu, cuda or cuda:0,...")
        numbers.append(int(number or 0))
    if max(numbers) >= faiss.get_num_gpus():
        raise PyriteError(
            f"{key}={device} but FAISS sees {faiss.get_num_gpus()} GPUs;"
            f" set {key}=cpu or name one that is there"
        )
    return numbers

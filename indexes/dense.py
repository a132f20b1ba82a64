"""What a dense index is, and how the configured one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from .config import KEY, IndexConfig


class DenseIndex(Protocol):
    """Top `k` of a corpus by inner product, in the total order."""

    def __len__(self) -> int:
        """Number of documents."""

    def search(self, queries_BD: F32, k: int) -> tuple[I64, F32]:
        """Ids int64 [B, k] padded with -1, scores float32 [B, k] padded with -inf."""

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of one search beside the mapped corpus and the index, in bytes."""


def open_exact(
    config: IndexConfig, corpus: Embeddings, rank_N: I64, threads: int = 0, key: str = KEY
) -> DenseIndex:
    """Exact search with the configured backend and device; errors call the section `key`."""
    from .flat import FlatIndex

    if config.backend == "faiss":
        from .proposers import FaissProposer

        return FlatIndex(corpus, rank_N, FaissProposer(corpus, threads, config.device, key))
    from .torch_tiles import TorchProposer

    proposer = TorchProposer(corpus, threads, config.device, config.float16, key=key)
    return FlatIndex(corpus, rank_N, proposer)


def open_dense(
    config: IndexConfig,
    corpus: Embeddings,
    rank_N: I64,
    cache: Path,
    depth: int,
    threads: int = 0,
    key: str = KEY,
) -> DenseIndex:
    """The index of a configuration; `depth` is the largest k that will be asked for.

    Raises PyriteError for a missing GPU or a factory string that cannot be built, naming the
    section `key`.
    """
    if config.exact:
        return open_exact(config, corpus, rank_N, threads, key)
    from .ann import open_ann

    return open_ann(config, corpus, rank_N, cache, depth, threads, key)

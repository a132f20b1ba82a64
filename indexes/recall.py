"""Recall of an approximate index, measured against exact search when it is built."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from .config import KEY, IndexConfig
from .dense import DenseIndex

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of the true top `k` that the index returned, over `queries` sampled queries."""

    value: float
    k: int
    queries: int


def recall_at_k(found_QK: I64, true_QK: I64) -> float:
    """Mean over queries of |found and true| / k; ids are distinct in a row, -1 counts for nothing.

    Both are int64 [Q, k].
    """
    hits = 0
    for found, true in zip(found_QK, true_QK, strict=True):
        hits += int(np.isin(true[true >= 0], found[found >= 0]).sum())
    return hits / max(int((true_QK >= 0).sum()), 1)


def sample_queries(total: int, size: int) -> I64:
    """Up to `size` of `total` query rows, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(size, total)).astype(np.int64))


def measure_recall(
    index: DenseIndex,
    exact: DenseIndex,
    queries: Embeddings,
    config: IndexConfig,
    k: int,
    key: str = KEY,
) -> Recall:
    """Measure recall@k on a sample.

    Raises PyriteError below `config.min_recall`, naming the section `key`.
    """
    sample: F32 = queries.take(sample_queries(len(queries), config.recall_sample))
    found, _ = index.search(sample, k)
    true, _ = exact.search(sample, k)
    recall = Recall(recall_at_k(found, true), k, sample.shape[0])
    logger.info(
        "index %s: recall@%d %.4f on %d queries", config.factory, k, recall.value, recall.queries
    )
    if config.min_recall is not None and recall.value < config.min_recall:
        raise PyriteError(
            f"index {config.factory}: recall@{k} is {recall.value:.4f} on {recall.queries} queries,"
            f" below {key}.min_recall={config.min_recall}; {_knob(config, key)}"
        )
    return recall


def _knob(config: IndexConfig, key: str) -> str:
    if "IVF" in config.factory:
        return f"raise {key}.nprobe (now {config.nprobe or 1}) or use factory: Flat"
    if "HNSW" in config.factory:
        return f"raise {key}.ef_search (now {config.ef_search or 16}) or use factory: Flat"
    return f"raise {key}.rescore (now {config.rescore}) or use factory: Flat"

"""Building and searching an approximate index, timed on random vectors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.embeddings import Embeddings
from ...indexes.config import IndexConfig
from ..run_config import TrainConfig
from .ann_work import AnnWork, ann_work
from .measure_mining import NUMBERS, searched_sources
from .stopwatch import Stopwatch
from .toy import unit_vectors

_ROWS, _QUERIES = 32_768, 1024
_TABLE_ROWS, _TABLE_WIDTH = 39 * 256, 4


@dataclass(frozen=True, slots=True)
class AnnRates:
    """Seconds for a multiplication of a build and of a search, and for a byte of PQ codes.

    FAISS orders the 256 centroids of each byte by simulated annealing, however few vectors there
    are. None: there is no such index.
    """

    build: float | None = None
    probe: float | None = None
    table: float | None = None


def measure_ann(config: TrainConfig, dimension: int, depth: int) -> AnnRates:
    """The rates of the first approximate index that there is a formula for."""
    for source in searched_sources(config):
        work = ann_work(source.index, dimension) if source.kind == "dense" else None
        if not source.index.exact and work is not None:
            return _timed(config, source.index, work, depth)
    return AnnRates()


def _timed(config: TrainConfig, section: IndexConfig, work: AnnWork, depth: int) -> AnnRates:
    import faiss

    from ...indexes.ann import AnnIndex

    if config.threads:
        faiss.omp_set_num_threads(config.threads)
    documents = min(_ROWS, max(2 * _QUERIES, NUMBERS // work.dimension))
    small, factory = work.scaled(documents)
    vectors = unit_vectors(documents, work.dimension)
    queries = unit_vectors(_QUERIES, work.dimension, 1)
    index = faiss.index_factory(work.dimension, factory, faiss.METRIC_INNER_PRODUCT)
    inner: Any = faiss.downcast_index(index)
    if small.code:
        inner.do_polysemous_training = False
    if small.lists:
        inner.nprobe = small.probes
    if small.links:
        inner.hnsw.efConstruction, inner.hnsw.efSearch = small.ef_build, small.ef
    with Stopwatch() as building:
        index.train(vectors)
        index.add(vectors)
    k = min(depth, documents // section.rescore)
    corpus, ranks = Embeddings.from_array(vectors), np.arange(documents)
    opened = AnnIndex(corpus, ranks, [(0, index)], section, documents)
    with Stopwatch() as probing:
        opened.search(queries, k)
    searched = small.search(documents, _QUERIES, k * section.rescore)
    table = _table_seconds(config.threads or os.cpu_count() or 1) if small.code else None
    return AnnRates(building.seconds / small.build(documents), probing.seconds / searched, table)


def _table_seconds(threads: int) -> float:
    """Seconds to order the centroids of one byte, with all threads at work."""
    import faiss

    quantizer: Any = faiss.IndexPQ(_TABLE_WIDTH * threads, threads, 8)
    quantizer.pq.cp.niter = 1
    quantizer.do_polysemous_training = True
    with Stopwatch() as watch:
        quantizer.train(unit_vectors(_TABLE_ROWS, _TABLE_WIDTH * threads))
    return watch.seconds / threads

"""Approximate search: any FAISS factory string, built once, rescored exactly."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import faiss
import numpy as np

from ..core.digest import digest_json
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.progress import progress
from ..core.rng import splitmix64
from ..core.store import Manifest, atomic_write, discard
from .config import KEY, IndexConfig
from .flat import check_search
from .proposers import FAISS_GPU_MAX_K, faiss_gpus, keep_best
from .topk import RESCORE_BYTES, exact_scores, order_rows

logger = logging.getLogger(__name__)

SCHEMA = 1
_ADD_ROWS = 65_536


def ann_memory(batch: int, k: int, documents: int, dimension: int, rescore: int) -> int:
    """Bound of one `AnnIndex.search` beside the index itself, in bytes."""
    width = min(k * rescore, documents)
    return batch * (8 * dimension + 12 * (k + 4 * width)) + RESCORE_BYTES


class AnnIndex:
    """A FAISS index whose hits are scored again from the stored vectors, in the total order."""

    def __init__(
        self,
        corpus: Embeddings,
        rank_N: I64,
        parts: list[tuple[int, faiss.Index]],
        config: IndexConfig,
        max_k: int,
    ) -> None:
        """`parts` are (first corpus row, index); `max_k` is what one part can return."""
        self._corpus = corpus
        self._rank_N = rank_N
        self._parts = parts
        self._config = config
        self._max_k = max_k

    def __len__(self) -> int:
        return len(self._corpus)

    def search(self, queries_BD: F32, k: int) -> tuple[I64, F32]:
        """Approximate top `k`, exactly scored: ids int64 [B, k], scores float32 [B, k].

        Rows for which the index finds fewer than `k` are padded with -1 and -inf.
        """
        check_search(len(self), self._corpus.dimension, queries_BD, k)
        width = min(k * self._config.rescore, len(self))
        ids = np.empty((queries_BD.shape[0], 0), dtype=np.int64)
        scores = np.empty((queries_BD.shape[0], 0), dtype=np.float32)
        for first, index in self._parts:
            wanted = min(width, self._max_k, index.ntotal)
            found, rows = index.search(np.ascontiguousarray(queries_BD), wanted)
            ids = np.concatenate((ids, np.where(rows < 0, -1, rows + first)), axis=1)
            # FAISS pads with its own lowest float: a pad must never win a place
            scores = np.concatenate((scores, np.where(rows < 0, -np.inf, found)), axis=1)
            ids, scores = keep_best(ids, scores.astype(np.float32), width)
        return order_rows(ids, exact_scores(queries_BD, self._corpus, ids), self._rank_N, k)

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of one `search` beside the index itself, in bytes."""
        shape = len(self), self._corpus.dimension
        return ann_memory(batch, k, *shape, self._config.rescore)


def open_ann(
    config: IndexConfig,
    corpus: Embeddings,
    rank_N: I64,
    cache: Path,
    depth: int,
    threads: int = 0,
    key: str = KEY,
) -> AnnIndex:
    """Build the index of `config`, or read the one that was built from the same vectors.

    Raises PyriteError for a factory string that FAISS does not know, too few vectors to train it,
    a parameter it does not have, or a GPU that is missing, naming the section `key`.
    """
    gpus = faiss_gpus(config.device, f"{key}.device") if config.device != "cpu" else []
    if threads:
        faiss.omp_set_num_threads(threads)
    number = 1
    if gpus and depth * config.rescore > FAISS_GPU_MAX_K:
        number = 2 * -(-depth * config.rescore // FAISS_GPU_MAX_K)
    borders = np.linspace(0, len(corpus), number + 1).astype(int)
    parts = []
    for first, stop in itertools.pairwise(borders):
        index = _open_part(config, corpus, int(first), int(stop), cache, key)
        _set_parameters(index, config, key)
        parts.append((int(first), _to_gpus(index, config, gpus) if gpus else index))
    return AnnIndex(corpus, rank_N, parts, config, FAISS_GPU_MAX_K if gpus else len(corpus))


def _open_part(
    config: IndexConfig, corpus: Embeddings, first: int, stop: int, cache: Path, section: str
) -> faiss.Index:
    key = digest_json(
        {
            "schema": SCHEMA,
            "corpus": corpus.identity,
            "rows": [first, stop],
            "factory": config.factory,
            "train_size": config.train_size,
            "ef_construction": config.ef_construction,
        }
    )
    folder = cache / "indexes" / key
    path = folder / "index.faiss"
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.intact(folder):
        return faiss.read_index(str(path))
    discard(folder)
    index = _build(config, corpus, first, stop, section)
    with atomic_write(path) as handle:
        faiss.write_index(index, faiss.PyCallbackIOWriter(handle.write))  # type: ignore[attr-defined]
    Manifest.write(
        folder,
        schema=SCHEMA,
        kind="index",
        factory=config.factory,
        rows=stop - first,
        dimension=corpus.dimension,
    )
    return index


def _build(config: IndexConfig, corpus: Embeddings, first: int, stop: int, key: str) -> faiss.Index:
    try:
        index = faiss.index_factory(corpus.dimension, config.factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise PyriteError(
            f"{key}.factory={config.factory!r} is not a factory string that FAISS knows"
            f" for dimension {corpus.dimension}; examples: Flat, IVF1024,Flat, IVF1024,PQ48, HNSW32"
        ) from error
    if config.ef_construction is not None:
        _set(index, f"efConstruction={config.ef_construction}", config, key)
    if not index.is_trained:
        sample = training_rows(first, stop, config.train_size)
        logger.info("index %s: training on %d vectors", config.factory, sample.size)
        try:
            index.train(corpus.take(sample))
        except RuntimeError as error:
            raise PyriteError(
                f"{key}.factory={config.factory!r} cannot be trained on {sample.size}"
                " vectors; use fewer lists or smaller codes, or factory: Flat"
            ) from error
    with progress(f"index {config.factory}", total=stop - first, unit="vectors") as bar:
        for start in range(first, stop, _ADD_ROWS):
            rows = np.arange(start, min(start + _ADD_ROWS, stop))
            index.add(corpus.take(rows))
            bar.update(rows.size)
    return index


def training_rows(first: int, stop: int, size: int) -> I64:
    """Rows to train on, int64, ascending: the `size` smallest hashes of the row number."""
    rows = np.arange(first, stop)
    if rows.size <= size:
        return rows
    keys = splitmix64(rows.astype(np.uint64))
    return np.sort(rows[np.argsort(keys, kind="stable")[:size]])


def _set_parameters(index: faiss.Index, config: IndexConfig, key: str) -> None:
    settings = [p for p in config.parameters.split(",") if p.strip()]
    if config.nprobe is not None:
        settings.append(f"nprobe={config.nprobe}")
    if config.ef_search is not None:
        settings.append(f"efSearch={config.ef_search}")
    for setting in settings:
        _set(index, setting, config, key)


def _set(index: faiss.Index, setting: str, config: IndexConfig, key: str) -> None:
    try:
        faiss.ParameterSpace().set_index_parameters(index, setting)  # type: ignore[arg-type]
    except RuntimeError as error:
        raise PyriteError(
            f"index parameter {setting!r} does not apply to factory {config.factory!r};"
            f" remove it or change {key}.factory"
        ) from error


def _to_gpus(index: faiss.Index, config: IndexConfig, gpus: list[int]) -> faiss.Index:
    options = faiss.GpuMultipleClonerOptions()
    options.useFloat16 = config.float16
    options.shard = config.several == "shard"
    return faiss.index_cpu_to_gpus_list(index, co=options, gpus=gpus)

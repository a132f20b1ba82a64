"""The largest sizes that fit into what is free, each by the formula that it is bounded by."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.free_memory import free_memory
from ...indexes.config import IndexConfig
from .ann_work import ann_work
from .disk import CANDIDATE, REASON, texts_bytes, vectors_bytes
from .estimate import Estimate
from .memory import dense_memory, ids_memory, step_memory
from .shape import widest
from .train_stages import negatives, widths

_MOST = 10**13


@dataclass(frozen=True, slots=True)
class Free:
    """Bytes that are free: memory of this machine, of the device if there is one, and disk."""

    memory: float
    device: float | None
    disk: float


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest number of something, and what it is bounded by."""

    what: str
    largest: int
    formula: str
    bound: str

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def free_here(of: Estimate) -> Free:
    """What is free on this machine; of an assumed device all of its memory."""
    cache = of.config.cache.absolute()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    device = None if of.device is None else of.device.memory
    if of.device is None and of.config.encoder.device.startswith("cuda"):
        import torch

        device = float(torch.cuda.mem_get_info(of.config.encoder.device.partition(",")[0])[0])
    return Free(free_memory()[0], device, float(shutil.disk_usage(Path(there)).free))


def largest(size: Callable[[int], float], free: float) -> int:
    """The largest number from 0 to 10^13 whose `size`, which never falls, is at most `free`."""
    if size(1) > free:
        return 0
    low, high = 1, 2
    while high < _MOST and size(high) <= free:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= free else (low, middle)
    return min(low, _MOST)


def limits(of: Estimate, free: Free) -> Iterator[Limit]:
    """Documents, queries and batch that still fit, everything else as configured."""
    yield from _documents(of, free)
    depth = min(of.config.retrieve.depth, of.sizes.documents)
    each = 2 * (CANDIDATE + REASON)
    found = largest(lambda queries: float(each) * queries * depth, free.disk)
    formula = f"2 (17 + 2) Q K bytes, K = {depth}"
    yield Limit("queries, candidates on disk", found, formula, "disk")
    yield from _batch(of, free)


def _documents(of: Estimate, free: Free) -> Iterator[Limit]:
    facts, dimension, each = of.sizes.document, of.dimension, of.vector_bytes
    vector = dimension * each
    found = largest(
        lambda n: texts_bytes(n, facts) + vectors_bytes(n, dimension, each) + n * vector, free.disk
    )
    formula = f"N (text + id + 32 + 2 x {each} D) bytes"
    yield Limit("documents, texts and vectors on disk", found, formula, "disk")
    found = largest(lambda n: ids_memory(n, facts.longest_id), free.memory)
    yield Limit("documents, ids", found, "N (2 longest id + 176) bytes", "memory")
    batch = min(of.config.retrieve.block_queries, of.sizes.queries)
    depth = of.config.retrieve.depth

    def exact(n: int) -> float:
        return dense_memory(IndexConfig(), batch, min(depth, n), n, dimension)

    found = largest(exact, free.memory)
    yield Limit("documents, exact search", found, "48 N + what a block takes", "memory")
    place, held = ("memory", free.memory) if free.device is None else ("device", free.device)
    found = largest(lambda n: 4.0 * n * dimension, held)
    yield Limit("documents, an index that holds all vectors", found, "4 N D bytes", place)
    approximate = next(
        (s.index for s in of.config.retrieve.sources if s.kind == "dense" and not s.index.exact),
        None,
    )
    codes = dimension // 8 if dimension % 8 == 0 else dimension
    coded = IndexConfig(backend="faiss", factory=f"IVF4096,PQ{codes}")
    for index in (approximate, coded):
        work = None if index is None else ann_work(index, dimension)
        if index is not None and work is not None:
            found = largest(lambda n, work=work: float(work.memory(n)), held)  # type: ignore[misc]
            name = f"documents, {index.factory}"
            yield Limit(name, found, "N (bytes of a code + 8) + 4 (lists + 256) D", place)


def _batch(of: Estimate, free: Free) -> Iterator[Limit]:
    shape, train = of.shape, of.config.train
    if shape is None or train.kind != "encoder":
        return
    if train.mini_batch_size is not None or train.mini_batch_tokens is not None:
        # what is embedded at a time bounds the memory, whatever the batch
        return
    place, room = ("memory", free.memory) if free.device is None else ("device", free.device)
    sizes, n = of.sizes, negatives(of)
    columns = [sizes.query, *(sizes.document for _ in widths(of, n)[1:])]

    def step(rows: int) -> float:
        return step_memory(shape, [widest(f.tokens_S, rows) for f in columns], rows, train)

    found = largest(step, room)
    yield Limit(
        f"training rows of {len(columns)} texts in a batch",
        found,
        "16 P + rows tokens L (34 H + 5 heads width) bytes",
        place,
    )

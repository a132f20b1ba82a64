"""Bytes of memory by stage, beside mapped files: the search's own bound, estimates of the rest."""

from __future__ import annotations

from ...core.embeddings import PART_ROWS
from ...indexes.ann import ann_memory
from ...indexes.config import IndexConfig
from ...indexes.flat import flat_memory
from ...indexes.proposers import faiss_memory
from ...indexes.retrieve import RetrieveConfig, search_memory
from ...indexes.torch_tiles import tile_memory
from ..train_config import TrainSection
from .ann_work import ann_work
from .shape import ModelShape

# a Python string and its UTF-8 while ids are indexed
_ID_OBJECTS = 160
# Korthikanti et al., arXiv 2205.05198: bytes of a layer's activations for a token, in bfloat16
_ACTIVATIONS, _SCORES = 34, 5


def ids_memory(rows: float, longest: int) -> float:
    """Sorted ids, rows and ranks, and the Python objects that they are made from."""
    return rows * (2 * longest + 16 + _ID_OBJECTS)


def encode_memory(shape: ModelShape, batch_tokens: int, width: float) -> float:
    """Weights, two parts of vectors, and the activations of one layer for one batch."""
    layer = 6 * shape.hidden + 2 * shape.intermediate + 2 * shape.heads * width
    tokens = max(float(batch_tokens), width)
    weights = shape.parameters * shape.bytes_each
    return weights + 8 * PART_ROWS * shape.dimension + tokens * layer * shape.bytes_each


def dense_memory(config: IndexConfig, batch: int, k: int, documents: int, dimension: int) -> int:
    """The bound that a dense index states for one search, and the size of one that is held."""
    if not config.exact:
        work = ann_work(config, dimension)
        held = work.memory(documents) if work is not None else 0
        return held + ann_memory(batch, k, documents, dimension, config.rescore)

    def proposals(rows: int, width: int) -> int:
        if config.backend == "faiss":
            return faiss_memory(rows, width, documents, dimension)
        return tile_memory(rows, width, documents, dimension, on_cpu=config.device == "cpu")

    return flat_memory(batch, k, documents, dimension, proposals)


def retrieve_memory(config: RetrieveConfig, documents: int, queries: int, dimension: int) -> int:
    """What `search: ... at most` will say, for dense sources, bm25s and run files."""
    batch = min(config.block_queries, queries)
    quotas = [min(s.quota or config.depth, documents) for s in config.sources]
    found = []
    for source, k in zip(config.sources, quotas, strict=True):
        if source.kind == "dense":
            found.append(dense_memory(source.index, batch, k, documents, dimension))
        elif source.kind == "run":
            found.append(12 * (batch * k + queries * k))
        else:
            found.append(64 * documents + 12 * batch * k)
    return search_memory(config, batch, quotas, found)


def fixed_memory(shape: ModelShape) -> float:
    """Weights, and for those that are trained a gradient and the two moments of AdamW."""
    return shape.bytes_each * (shape.parameters + 3.0 * shape.trained)


def activations(shape: ModelShape, tokens: float, width: float, train: TrainSection) -> float:
    """What a step keeps for the way back, of so many tokens in texts of `width`."""
    each = 1.0 if train.bf16 or train.fp16 or shape.bytes_each == 2 else 2.0
    layer = _ACTIVATIONS * shape.hidden + _SCORES * shape.heads * width
    if train.gradient_checkpointing:
        return each * tokens * (2 * shape.hidden * shape.layers + layer)
    return each * tokens * shape.layers * layer


def step_memory(shape: ModelShape, widths: list[float], rows: int, train: TrainSection) -> float:
    """One training step: what is fixed, and the activations of what is embedded at a time."""
    tokens = rows * sum(widths)
    if train.mini_batch_size is not None:
        tokens = min(tokens, train.mini_batch_size * max(widths))
    if train.mini_batch_tokens is not None:
        tokens = min(tokens, float(train.mini_batch_tokens))
    return fixed_memory(shape) + activations(shape, tokens, max(widths), train)

"""The arithmetic of an encoder: work of a batch, and the batches that texts fall into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.embeddings import PART_ROWS
from ...core.encoder import plan_batches
from ...core.ids import I64
from ...core.sbert import architecture

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A transformer by its numbers: `matrices` are parameters that every token is multiplied by.

    `parameters` counts all, `trained` those of a training, `disk` is the model's folder in bytes.
    """

    parameters: int
    matrices: int
    layers: int
    hidden: int
    heads: int
    intermediate: int
    dimension: int
    bytes_each: int
    disk: int
    trained: int

    def work(self, rows: int, width: int) -> float:
        """Floating-point operations of one forward pass over `rows` texts of `width` tokens."""
        attention = 4 * self.layers * self.hidden * width
        return float(rows) * width * (2 * self.matrices + attention)


def shape_of(model: SentenceTransformer, lora: int | None = None) -> ModelShape:
    """The numbers of a loaded model; with `lora` that rank's adapters on all linear layers."""
    import torch

    config: Any = architecture(model[0])
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    tables = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    looked_up = sum(p.numel() for m in tables for p in m.parameters())
    adapters = sum((lora or 0) * (m.in_features + m.out_features) for m in linear)
    first = next(model.parameters())
    hidden = int(getattr(config, "hidden_size", model.get_embedding_dimension() or 1))
    return ModelShape(
        parameters=sum(sizes.values()),
        matrices=sum(sizes.values()) - looked_up,
        layers=int(getattr(config, "num_hidden_layers", 1)),
        hidden=hidden,
        heads=int(getattr(config, "num_attention_heads", 1)),
        intermediate=int(getattr(config, "intermediate_size", 4 * hidden)),
        dimension=int(model.get_embedding_dimension() or hidden),
        bytes_each=first.element_size(),
        disk=sum(p.numel() * p.element_size() for p in model.parameters()),
        trained=adapters or sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def typical(tokens_S: I64, rows: int) -> I64:
    """Places in the ascending sample `tokens_S` that `rows` texts would have, int64 [rows]."""
    shares = (np.arange(rows) + 0.5) / rows
    return np.asarray((shares * tokens_S.size).astype(np.int64))


def batches_of(tokens_S: I64, rows: int, max_tokens: int) -> list[I64]:
    """One part of `rows` texts as it is encoded: places in the sample, a batch each."""
    places = typical(tokens_S, rows)
    return [places[batch] for batch in plan_batches(tokens_S[places], max_tokens)]


def encode_work(shape: ModelShape, tokens_S: I64, rows: int, max_tokens: int) -> float:
    """Floating-point operations of encoding `rows` texts in parts of 2,048 sorted ones."""
    parts, rest = divmod(rows, PART_ROWS)
    total = 0.0
    for size, times in ((PART_ROWS, parts), (rest, 1)):
        if size and times:
            for batch in batches_of(tokens_S, size, max_tokens):
                total += times * shape.work(batch.size, int(tokens_S[batch].max()))
    return total


def widest(tokens_S: I64, rows: int) -> float:
    """The expected length of the longest of `rows` texts drawn from the ascending sample."""
    places = np.arange(tokens_S.size + 1) / tokens_S.size
    return float((tokens_S * np.diff(places**rows)).sum())


def step_work(shape: ModelShape, widths: list[float], rows: int) -> float:
    """Operations of one training step: a column of `rows` texts for each of `widths`.

    Forward once and backward twice as much.
    """
    return 3 * sum(shape.work(rows, 1) * w for w in widths) + 3 * sum(
        4.0 * shape.layers * shape.hidden * rows * w * (w - 1) for w in widths
    )

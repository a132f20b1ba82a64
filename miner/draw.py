"""The draw: n documents without replacement for all queries at once, by Gumbel top-k.

Kool, van Hoof, Welling, "Stochastic beams and where to find them", ICML 2019: the n largest of
log-weight + Gumbel noise are an exact sample without replacement.
"""

from __future__ import annotations

import numpy as np

from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import U64, combine, gumbel, stream

_PARTS = 16  # purposes below are other draws


def noise_bits(
    seed: int, generation: int, query_hashes_Q: U64, doc_hashes_QK: U64, part: int = 0
) -> U64:
    """One hash for each (seed, generation, query id, document id), uint64 [Q, K].

    Each `part` of a mix has noise of its own: what one part passed over is no worse for the next.
    """
    purpose = _PARTS + part if part else 0
    root = combine(stream(seed, generation, purpose), query_hashes_Q)
    return combine(root[:, None], doc_hashes_QK)


def draw(log_weights_QK: F32, bits_QK: U64, ties_QK: I64, n: int) -> I64:
    """Columns of the drawn candidates, best key first, int64 [Q, n]; -1 where a row runs short.

    A candidate of weight -inf is never drawn. Equal keys are ordered by `ties_QK` ascending.
    """
    keys = log_weights_QK.astype(np.float64) + gumbel(bits_QK)
    order = np.lexsort((ties_QK, -keys), axis=-1)[:, :n]
    possible = np.isfinite(np.take_along_axis(keys, order, axis=1))
    columns = np.where(possible, order, -1)
    return np.pad(columns, ((0, 0), (0, n - columns.shape[1])), constant_values=-1)


def first_draw_probability(log_weights_QK: F32) -> F32:
    """The chance of each candidate in the first draw: softmax of each row, 0 for -inf rows."""
    weights = log_weights_QK.astype(np.float64)
    top = weights.max(axis=1, keepdims=True, initial=-np.inf)
    scaled = np.exp(weights - np.where(np.isfinite(top), top, 0.0))
    total = scaled.sum(axis=1, keepdims=True)
    return (scaled / np.where(total > 0, total, 1.0)).astype(np.float32)

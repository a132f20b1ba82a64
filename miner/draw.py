"""The draw: n documents without replacement for all queries at once, by Gumbel top-k.

Kool, van Hoof, Welling, "Stochastic beams and where to find them", ICML 2019: the n largest of
log-weight + Gumbel noise are an exact sample without replacement.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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


def draw(log_weights_QK: F32, bits_QK: U64, ties_QK: I64, n: int, rank_N: I64 | None = None) -> I64:
    """Columns of the drawn candidates, best key first, int64 [Q, n]; -1 where a row runs short.

    A candidate of weight -inf is never drawn. Equal keys are ordered by `ties_QK` ascending, or
    by `rank_N[ties_QK]`, which is looked up for the best candidates only.
    """

    def ordered(keys: npt.NDArray[np.float64], ties: I64) -> I64:
        return np.lexsort((ties if rank_N is None else rank_N[ties], -keys), axis=-1)[:, :n]

    keys = log_weights_QK.astype(np.float64) + gumbel(bits_QK)
    depth = keys.shape[1]
    if n < depth:
        columns = np.argpartition(-keys, n, axis=1)[:, : n + 1]
        best = np.take_along_axis(keys, columns, axis=1)
        lowest = np.partition(best, 1, axis=1)[:, :2]
        # equal keys at the border are settled by all of them, not by where a partition put them
        tied = np.flatnonzero((lowest[:, 0] == lowest[:, 1]) & np.isfinite(lowest[:, 1]))
        order = ordered(best, np.take_along_axis(ties_QK, columns, axis=1))
        order = np.take_along_axis(columns, order, axis=1)
        order[tied] = ordered(keys[tied], ties_QK[tied])
    else:
        order = ordered(keys, ties_QK)
    possible = np.isfinite(np.take_along_axis(keys, order, axis=1))
    columns = np.where(possible, order, -1)
    return np.pad(columns, ((0, 0), (0, n - columns.shape[1])), constant_values=-1)


def first_draw_probability(log_weights_QK: F32) -> F32:
    """The chance of each candidate in the first draw: softmax of each row, 0 for -inf rows."""
    weights = log_weights_QK.astype(np.float64)
    top = weights.max(axis=1, keepdims=True, initial=-np.inf)
    weights -= np.where(np.isfinite(top), top, 0.0)
    np.exp(weights, out=weights)
    total = weights.sum(axis=1, keepdims=True)
    weights /= np.where(total > 0, total, 1.0)
    return weights.astype(np.float32)

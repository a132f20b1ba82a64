"""Which of a query's mined negatives a row gets: pure functions of hashes and counters.

All take `ids_BM` int64 [B, m], each row's pool in the order of the mining, -1 at the end, and
return columns int64 [B, n], -1 where a row runs short. No negative stands twice in a row.
"""

from __future__ import annotations

import numpy as np

from ..core.candidates import PAD_ID
from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import U64, combine, stream
from ..miner.draw import draw
from .draw_config import FIRST_REPLACEMENT

ROTATION, SAMPLE, POSITIVE = 10, 11, 12
# below every log-probability in float32 by more than the whole range of Gumbel noise
_NO_WEIGHT = np.float32(-256.0)


def hashes(seed: int, epoch: int, purpose: int, queries_B: U64, docs_BM: U64) -> U64:
    """A hash for each (seed, epoch, query id, document id), uint64 [B, m]."""
    roots = combine(stream(seed, epoch, purpose), queries_B)
    return combine(roots[:, None], docs_BM)


def replaced_columns(ids_BM: I64, turns_B: I64, n: int) -> I64:
    """The first n; after the i-th replacement the places from (i - 1) * n + 10 on.

    Conan-embedding, arXiv 2408.15710. Turn 0 of every row is the static choice.
    """
    starts = np.where(turns_B > 0, (turns_B - 1) * n + FIRST_REPLACEMENT, 0)
    columns = starts[:, None] + np.arange(n)
    return np.where(columns < _lengths(ids_BM)[:, None], columns, -1)


def rotated_columns(ids_BM: I64, keys_BM: U64, epoch: int, n: int) -> I64:
    """The slice of epoch `epoch` of each row's shuffled pool, which starts again at its end.

    As Tevatron's loader, but without repeats: a row with at most n negatives gets all of them in
    the order of the mining. `keys_BM` order the shuffle and must not depend on the epoch.
    """
    lengths = _lengths(ids_BM)
    order = np.lexsort((keys_BM, ids_BM == PAD_ID), axis=-1)
    at = (epoch * n + np.arange(n)) % np.maximum(lengths, 1)[:, None]
    turned = np.take_along_axis(order, at, axis=1) if ids_BM.shape[1] else at
    few = (lengths <= n)[:, None]
    columns = np.where(few, np.arange(n), turned)
    return np.where(np.arange(n) < lengths[:, None], columns, -1)


def sampled_columns(ids_BM: I64, probabilities_BM: F32, bits_BM: U64, n: int) -> I64:
    """A draw of n without replacement by the miner's probabilities of the first draw.

    Negatives of probability 0 (fall-backs) follow once all others are drawn, all alike.
    """
    with np.errstate(divide="ignore"):
        weights = np.log(probabilities_BM)
    weights = np.where(probabilities_BM > 0, weights, _NO_WEIGHT)
    weights = np.where(ids_BM != PAD_ID, weights, np.float32(-np.inf)).astype(np.float32)
    ties = np.broadcast_to(np.arange(ids_BM.shape[1]), ids_BM.shape)
    return draw(weights, bits_BM, ties, n)


def _lengths(ids_BM: I64) -> I64:
    return np.asarray((ids_BM != PAD_ID).sum(axis=1))

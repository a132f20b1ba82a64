"""A mix of samplers, and what happens where a query runs short.

The parts choose in turn, each among what the parts before it left, by id and by text. Then the
fall-backs are tried in their order: `relax` (tier 1) takes candidates that only the cap on clusters
left out, then those that a score rule rejected, the lowest first; `random_fill` (tier 2) random
documents that pass every filter; `drop_query` leaves the query out. What is still missing stays
missing, and is counted. Spares for a cap on uses are a second round: the same parts and fall-backs
among what the first round left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.candidates import PAD_ID, STRUCTURAL, Candidates, Negatives, Reason
from ..core.encoder import F32
from ..core.ids import I64
from .choose import Context, choose, picked, reasons_of
from .draw import draw, noise_bits
from .draws import beside, take_columns, take_rows
from .filters import U16, FilterConfig
from .samplers import SamplerConfig

RELAXED, FILLED = 1, 2
# not structural: a rank window counts what an earlier part took
_TAKEN = np.uint16(1 << 15)
# claims about what the document is, not about how it scores
_FINAL = np.uint16(STRUCTURAL | Reason.NEAR_DUPLICATE | Reason.DENOISED) | _TAKEN


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates of a block and their reasons, uint16 [Q, K]."""

    candidates: Candidates
    reasons: U16

    @classmethod
    def of(
        cls, candidates: Candidates, pos_scores_Q: F32, context: Context, filters: FilterConfig
    ) -> Pool:
        """Candidates with the reasons that the rules find."""
        return cls(candidates, reasons_of(candidates, pos_scores_Q, context, filters))


def choose_mix(
    retrieved: Pool,
    random: Pool | None,
    pos_scores_Q: F32,
    context: Context,
    config: SamplerConfig,
    seed: int,
    spares: bool = False,
) -> Negatives:
    """Draw the negatives of a block by all parts and fall-backs of `config`.

    With `spares` as many columns again follow, holes included: what would be drawn next.

    `random` holds random documents of the same queries; it must be there if
    `config.needs_random`. Queries dropped by `drop_query` are not in the result.
    """
    first = _round([], retrieved, random, pos_scores_Q, context, config, seed)
    joined = _join(first, config.total)
    complete = joined.counts() == config.total
    if spares:
        second = _round(first, retrieved, random, pos_scores_Q, context, config, seed)
        joined = beside([joined, _join(second, config.total)])
    return take_rows(joined, complete) if "drop_query" in config.on_short else joined


def _round(
    before: list[Negatives],
    retrieved: Pool,
    random: Pool | None,
    pos_scores_Q: F32,
    context: Context,
    config: SamplerConfig,
    seed: int,
) -> list[Negatives]:
    """What each part and fall-back chooses among what `before` left."""
    chosen: list[Negatives] = []
    for number, part in enumerate(config.parts):
        pool = _left(random if part.name == "random" else retrieved, before + chosen, context)
        if part.outside and part.name == "random":
            pool = _outside(pool, retrieved, context)
        found = choose(pool.candidates, pool.reasons, pos_scores_Q, context, part, seed, number)
        chosen.append(found)
    steps = [step for step in config.on_short if step != "drop_query"]
    for number, step in enumerate(steps, start=len(config.parts)):
        missing = config.total - np.sum([c.counts() for c in chosen], axis=0)
        if not (missing > 0).any():
            break
        pool = _left(retrieved if step == "relax" else random, before + chosen, context)
        fill = _relaxed if step == "relax" else _filled
        chosen.append(fill(pool, missing, pos_scores_Q, context, seed, number))
    return chosen


def _left(pool: Pool | None, chosen: list[Negatives], context: Context) -> Pool:
    """The pool without what was chosen before, by text: a document equals its copies.

    With `near_text`, a document equals its near copies.
    """
    if pool is None:
        raise ValueError("this mix needs random candidates")
    if not chosen:
        return pool
    reasons = pool.reasons.copy()
    kinds_N = context.kinds_N
    texts_QK = kinds_N[np.maximum(pool.candidates.ids, 0)]
    for before in chosen:
        for column in range(before.ids.shape[1]):
            ids = before.ids[:, column]
            text = kinds_N[np.maximum(ids, 0)]
            reasons[(texts_QK == text[:, None]) & (ids != PAD_ID)[:, None]] |= _TAKEN
    return Pool(pool.candidates, reasons)


def _outside(pool: Pool, retrieved: Pool, context: Context) -> Pool:
    """The pool without the retrieved candidates of each query; a document equals its copies."""
    ids, listed = pool.candidates.ids, retrieved.candidates.ids
    both = np.concatenate((ids, listed), axis=1)
    _, number = np.unique(context.kinds_N[np.maximum(both, 0)], return_inverse=True)
    keys = number.reshape(both.shape) + both.size * np.arange(len(both))[:, None]
    known = keys[:, ids.shape[1] :][listed != PAD_ID]
    inside = np.isin(keys[:, : ids.shape[1]], known)
    return Pool(pool.candidates, np.where(inside, pool.reasons | _TAKEN, pool.reasons))


def _relaxed(
    pool: Pool, missing_Q: I64, pos_scores_Q: F32, context: Context, seed: int, number: int
) -> Negatives:
    """Candidates with nothing final against them: over the cap first, then the lowest score."""
    open_again = (pool.reasons != 0) & ((pool.reasons & _FINAL) == 0)
    # the cap is about variety: it says nothing of relevance, as the score rules do
    doubtful = pool.reasons != np.uint16(Reason.CLUSTER)
    ties = context.rank_N[np.maximum(pool.candidates.ids, 0)]
    keys = np.where(open_again, pool.candidates.scores, np.inf)
    order = np.lexsort((ties, keys, doubtful), axis=-1)[:, : int(missing_Q.max())]
    columns = np.where(np.take_along_axis(open_again, order, axis=1), order, -1)
    return _picked(pool, columns, missing_Q, pos_scores_Q, RELAXED)


def _filled(
    pool: Pool, missing_Q: I64, pos_scores_Q: F32, context: Context, seed: int, number: int
) -> Negatives:
    """Random documents that pass every filter."""
    ids = np.maximum(pool.candidates.ids, 0)
    query_ids = context.query_ids_Q[pool.candidates.query_rows]
    bits = noise_bits(seed, pool.candidates.generation, query_ids, context.doc_ids_N[ids], number)
    weights = np.where(pool.reasons == 0, 0.0, -np.inf).astype(np.float32)
    columns = draw(weights, bits, ids, int(missing_Q.max()), context.rank_N)
    return _picked(pool, columns, missing_Q, pos_scores_Q, FILLED)


def _picked(pool: Pool, columns: I64, missing_Q: I64, pos_scores_Q: F32, tier: int) -> Negatives:
    wanted = np.arange(columns.shape[1]) < missing_Q[:, None]
    none = np.zeros(pool.candidates.ids.shape, dtype=np.float32)
    return picked(pool.candidates, np.where(wanted, columns, -1), none, pos_scores_Q, tier)


def _join(chosen: list[Negatives], n: int) -> Negatives:
    """The columns of all parts side by side, what is missing at the end."""
    wide = beside(chosen)
    order = np.argsort(wide.ids == PAD_ID, axis=1, kind="stable")[:, :n]
    return take_columns(wide, order)

"""Choosing for one block of queries: reasons, log-weights, draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID, Candidates, Negatives
from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import U64
from ..core.tables import Qrels
from .draw import draw, first_draw_probability, noise_bits
from .filters import U16, FilterConfig, score_reasons, structural_reasons
from .samplers import SamplerConfig, Scored, log_weights


@dataclass(frozen=True, slots=True)
class Context:
    """What choosing needs to know of the dataset, besides the candidates."""

    qrels: Qrels
    query_texts_Q: U64
    doc_texts_N: U64
    query_ids_Q: U64
    doc_ids_N: U64
    rank_N: I64


def reasons_of(
    candidates: Candidates, pos_scores_Q: F32, context: Context, filters: FilterConfig
) -> U16:
    """All reason bits of a block, uint16 [Q, K]."""
    structural = structural_reasons(
        candidates,
        context.qrels,
        context.query_texts_Q[candidates.query_rows],
        context.doc_texts_N,
    )
    return structural | score_reasons(candidates.scores, pos_scores_Q, filters)


def choose(
    candidates: Candidates,
    reasons: U16,
    pos_scores_Q: F32,
    context: Context,
    config: SamplerConfig,
    seed: int,
) -> Negatives:
    """Draw the negatives of a block.

    A query with fewer than n candidates left gets fewer: nothing is filled in silently.
    """
    weights = log_weights(Scored(candidates.scores, reasons, pos_scores_Q), config)
    ids = np.maximum(candidates.ids, 0)
    bits = noise_bits(
        seed,
        candidates.generation,
        context.query_ids_Q[candidates.query_rows],
        context.doc_ids_N[ids],
    )
    columns = draw(weights, bits, context.rank_N[ids], config.n)
    none = columns < 0
    at = np.maximum(columns, 0)

    def pick(values: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        picked = np.take_along_axis(values, at, axis=1)
        return np.where(none, values.dtype.type(empty), picked)

    return Negatives(
        query_rows=candidates.query_rows,
        ids=pick(candidates.ids, PAD_ID),
        scores=pick(candidates.scores, -np.inf),
        ranks=pick(candidates.source_rank, 0),
        source=pick(candidates.source, 0),
        probabilities=pick(first_draw_probability(weights), 0.0),
        tiers=np.zeros(columns.shape, dtype=np.uint8),
        pos_scores=pos_scores_Q,
        sources=candidates.sources,
        generation=candidates.generation,
    )

"""Choosing for one block of queries: reasons, log-weights, draw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID, Candidates, Negatives, Reason
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.rng import U64
from ..core.tables import Qrels
from .calibrate import RAW, Calibration
from .cluster_masks import cluster_cap_reasons
from .cluster_rules import cluster_false_negatives, next_door
from .clusters import Clusters
from .denoise_checks import Checks
from .draw import draw, first_draw_probability, noise_bits
from .filters import U16, FilterConfig, score_reasons, structural_reasons
from .near_rules import Near, near_duplicates
from .popularity import owner_counts
from .saha import hard_owners, saha_places
from .samplers import SamplerPart, Scored, log_weights
from .two_conditions import Triangles, meets_two_conditions
from .vectors import Vectors

# not structural: a rank window counts what is in another cluster
_ELSEWHERE = np.uint16(1 << 14)


@dataclass(frozen=True, slots=True)
class Context:
    """What choosing needs to know of the dataset, besides the candidates."""

    qrels: Qrels
    query_texts_Q: U64
    doc_texts_N: U64
    query_ids_Q: U64
    doc_ids_N: U64
    rank_N: I64
    calibration: Calibration = RAW
    clusters: Clusters | None = None
    triangles: Triangles | None = None
    near: Near | None = None
    checks: Checks | None = None
    vectors: Vectors | None = None

    @property
    def kinds_N(self) -> U64:
        """Documents with the same number are never negatives of one query together, uint64 [N].

        Equal texts; with `near_text`, groups of near-equal texts.
        """
        if self.near is None or self.near.groups is None:
            return self.doc_texts_N
        return self.near.groups


def reasons_of(
    candidates: Candidates, pos_scores_Q: F32, context: Context, filters: FilterConfig
) -> U16:
    """All reason bits of a block, uint16 [Q, K]; the score rules see calibrated scores.

    The cap on clusters comes last: it counts the candidates that nothing else rejects.
    """
    calibration = context.calibration
    if calibration.method != filters.calibrate:
        raise ValueError(f"calibration {calibration.method} for filters of {filters.calibrate}")
    structural = structural_reasons(
        candidates,
        context.qrels,
        context.query_texts_Q[candidates.query_rows],
        context.doc_texts_N,
    )
    scores, pos_scores = calibration.apply(candidates.scores), calibration.apply(pos_scores_Q)
    reasons = structural | score_reasons(scores, pos_scores, filters)
    if filters.two_conditions:
        if context.triangles is None:
            raise ValueError("two_conditions without triangles")
        met = meets_two_conditions(candidates, pos_scores_Q, context.triangles)
        reasons[~met & np.isfinite(candidates.scores)] |= np.uint16(Reason.TWO_CONDITIONS)
    if filters.near_positive is not None or filters.near_text is not None:
        near = near_duplicates(candidates, context.qrels, context.near, filters)
        # what is equal has its reason already: the count says what these rules add
        reasons[near & (structural == 0)] |= np.uint16(Reason.NEAR_DUPLICATE)
    if filters.denoise.model is not None:
        if context.checks is None:
            raise ValueError("denoise without a cross-encoder's scores")
        rejected = context.checks.rejects(candidates, structural, filters.denoise)
        reasons[rejected] |= np.uint16(Reason.DENOISED)
    return _with_clusters(reasons, structural, candidates, context, filters)


def _with_clusters(
    reasons: U16, structural: U16, candidates: Candidates, context: Context, filters: FilterConfig
) -> U16:
    """The reasons and those of the rules about clusters, of which the cap comes last."""
    if filters.cluster_false_negatives:
        if context.clusters is None or context.vectors is None:
            raise ValueError("cluster_false_negatives without clusters and vectors")
        rest = (context.qrels, context.clusters, context.vectors)
        likely = cluster_false_negatives(candidates, *rest)
        # as for near duplicates: the count says what the rule adds
        reasons[likely & (structural == 0)] |= np.uint16(Reason.CLUSTER_FALSE_NEGATIVE)
    if filters.max_per_cluster is not None:
        if context.clusters is None:
            raise ValueError("max_per_cluster without clusters")
        capped = cluster_cap_reasons(
            candidates.ids, context.clusters.assign, filters.max_per_cluster, reasons == 0
        )
        reasons[capped] |= np.uint16(Reason.CLUSTER)
    return reasons


def choose(
    candidates: Candidates,
    reasons: U16,
    pos_scores_Q: F32,
    context: Context,
    config: SamplerPart,
    seed: int,
    part: int = 0,
) -> Negatives:
    """Draw the negatives of a block by one way of choosing; `part` is its number in a mix.

    A query with fewer than n candidates left gets fewer: nothing is filled in silently. Raises
    PyriteError if `config.source` is not a source of the candidates.
    """
    weights = log_weights(_view(candidates, reasons, pos_scores_Q, context, config), config)
    if config.source is not None:
        weights = np.where(_from_source(candidates, config.source), weights, np.float32(-np.inf))
    ids = np.maximum(candidates.ids, 0)
    bits = noise_bits(
        seed,
        candidates.generation,
        context.query_ids_Q[candidates.query_rows],
        context.doc_ids_N[ids],
        part,
    )
    columns = draw(weights, bits, ids, config.n, context.rank_N)
    return picked(candidates, columns, first_draw_probability(weights), pos_scores_Q, tier=0)


def _view(
    candidates: Candidates,
    reasons: U16,
    pos_scores_Q: F32,
    context: Context,
    config: SamplerPart,
) -> Scored:
    """What the sampler of `config` sees."""
    ids, rows, qrels = candidates.ids, candidates.query_rows, context.qrels
    if config.cluster == "second_nearest":
        if context.clusters is None or context.vectors is None:
            raise ValueError("sampler.cluster without clusters and vectors")
        corpus = context.vectors.corpus
        near = next_door(candidates, qrels, context.rank_N, context.clusters, corpus)
        reasons = np.where(near, reasons, reasons | _ELSEWHERE)
    view = Scored(candidates.scores, reasons, pos_scores_Q, documents=context.rank_N.size)
    if config.name == "popularity":
        return replace(view, owners=owner_counts(ids, qrels))
    if config.name == "saha":
        if context.vectors is None:
            raise ValueError("saha without vectors")
        wanted = config.n * config.mult
        found = hard_owners(ids, reasons == 0, rows, qrels, context.vectors, 2 * wanted)
        return replace(view, places=saha_places(*found, wanted))
    return view


def picked(
    candidates: Candidates, columns: I64, probabilities: F32, pos_scores_Q: F32, tier: int
) -> Negatives:
    """The candidates at `columns` int64 [Q, n] as negatives; -1 stays empty."""
    none = columns < 0
    at = np.maximum(columns, 0)

    def pick(values: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        found = np.take_along_axis(values, at, axis=1)
        return np.where(none, values.dtype.type(empty), found)

    return Negatives(
        query_rows=candidates.query_rows,
        ids=pick(candidates.ids, PAD_ID),
        scores=pick(candidates.scores, -np.inf),
        ranks=pick(candidates.source_rank, 0),
        source=pick(candidates.source, 0),
        probabilities=pick(probabilities, 0.0),
        tiers=np.where(none, 0, tier).astype(np.uint8),
        pos_scores=pos_scores_Q,
        sources=candidates.sources,
        generation=candidates.generation,
        positive_rows=candidates.positive_rows,
    )


def _from_source(candidates: Candidates, source: str) -> npt.NDArray[np.bool_]:
    if source not in candidates.sources:
        raise PyriteError(
            f"sampler.source={source!r} is not among the retrieved sources"
            f" ({', '.join(candidates.sources)}); name one of retrieve.sources"
        )
    return np.asarray(candidates.source == candidates.sources.index(source))

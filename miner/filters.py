"""Filters: each marks candidates with a reason bit, from untouched scores, so they commute.

Positive-aware ceilings: NV-Retriever, arXiv 2407.15831. The percent form is sign-safe, because
`0.95 * s_pos` lets everything up to a higher score pass when `s_pos` is negative.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..core.candidates import PAD_ID, STRUCTURAL, Candidates, Reason
from ..core.config import Section
from ..core.encoder import F32
from ..core.ids import I64
from ..core.tables import Qrels
from .calibrate import Method
from .denoise import DenoiseConfig

U16 = npt.NDArray[np.uint16]
U64 = npt.NDArray[np.uint64]
CEILINGS = ("margin", "percent", "max_score")
DEFAULT_PERCENT = 0.95  # of a run that says nothing about filters


class FilterConfig(Section):
    """Which scores a negative may have; null turns a rule off."""

    margin: float | None = Field(None, ge=0, description="keep s < s_pos - margin")
    percent: float | None = Field(
        None, gt=0, le=1, description="keep s < s_pos - (1 - percent) * |s_pos|"
    )
    max_score: float | None = Field(None, description="keep s < max_score")
    ties: Literal["drop", "keep"] = Field("drop", description="keep: <= in place of <")
    positive_score: Literal["min", "mean", "max", "each"] = Field(
        "min",
        description="which positive counts when a query has several; each: a row of negatives for"
        " every one of them",
    )
    calibrate: Method = Field(
        "none",
        description="scale of s in the rules above; ecdf: share of positives at or below;"
        " zscore: standard deviations of the candidates",
    )
    max_per_cluster: int | None = Field(
        None, ge=1, description="keep the first of each cluster among those the other rules keep"
    )
    clusters: int = Field(
        128, ge=1, description="clusters of the corpus, for all rules and samplers that have some"
    )
    cluster_device: Literal["cpu", "cuda"] = Field(
        "cpu", description="where k-means is trained; cuda: on the first GPU that FAISS sees"
    )
    cluster_false_negatives: bool = Field(
        False, description="reject what is in a positive's cluster and scores above its centroid"
    )
    near_positive: float | None = Field(
        None, gt=0, le=1, description="reject a cosine to a positive of at least this"
    )
    near_text: float | None = Field(
        None, gt=0, le=1, description="reject near copies: Jaccard similarity of at least this"
    )
    two_conditions: bool = Field(
        False, description="keep what is nearer to the query than its positive, and than to that"
    )
    denoise: DenoiseConfig = DenoiseConfig()

    @model_validator(mode="after")
    def _several_clusters(self) -> FilterConfig:
        if self.cluster_false_negatives and self.clusters < 2:
            raise ValueError(
                f"filters.cluster_false_negatives with filters.clusters={self.clusters}: one"
                " cluster holds every document; set filters.clusters to at least 2"
            )
        return self

    @model_validator(mode="after")
    def _two_conditions(self) -> FilterConfig:
        if not self.two_conditions:
            return self
        if self.positive_score in ("mean", "each"):
            raise ValueError(
                "filters.two_conditions compares with one positive, and"
                f" filters.positive_score={self.positive_score} names none or all; set it to min or"
                " max"
            )
        for key in ("margin", "percent"):
            if getattr(self, key) is not None:
                raise ValueError(
                    f"filters.{key}={getattr(self, key)} keeps what scores below the positive and"
                    f" filters.two_conditions what scores above it; set filters.{key}=null"
                )
        return self


def structural_reasons(
    candidates: Candidates, qrels: Qrels, query_texts_Q: U64, doc_texts_N: U64
) -> U16:
    """Reasons that hold whatever the scores: uint16 [Q, K].

    `query_texts_Q` and `doc_texts_N` are hashes of normalised texts. Marks padding, scores that
    are not finite, known positives, other documents with the text of the query or of one of its
    positives, and every later copy of a text that an earlier candidate of the same query has.
    """
    ids = candidates.ids
    pad = ids == PAD_ID
    texts_QK = doc_texts_N[np.maximum(ids, 0)]
    positive = qrels.is_positive(candidates.query_rows, ids)
    same = (texts_QK == query_texts_Q[:, None]) | _text_of_positive(
        candidates.query_rows, texts_QK, qrels, doc_texts_N
    )
    reasons = np.zeros(ids.shape, dtype=np.uint16)
    marks = (
        (Reason.PAD, pad),
        (Reason.NONFINITE, ~np.isfinite(candidates.scores)),
        (Reason.POSITIVE, positive),
        (Reason.SAME_TEXT, same & ~positive),
        (Reason.DUPLICATE, _later_copy(texts_QK, pad)),
    )
    for reason, hit in marks:
        reasons[hit] |= np.uint16(reason)
    reasons[pad] = np.uint16(Reason.PAD)
    return reasons


def _text_of_positive(
    query_rows: I64, texts_QK: U64, qrels: Qrels, doc_texts_N: U64
) -> npt.NDArray[np.bool_]:
    found = np.zeros(texts_QK.shape, dtype=bool)
    for rows, docs in qrels.positives_in_turn(query_rows):
        found[rows] |= texts_QK[rows] == doc_texts_N[docs][:, None]
    return found


def _later_copy(texts_QK: U64, pad_QK: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    out = np.zeros(texts_QK.shape, dtype=bool)
    plain = np.sort(texts_QK, axis=1)
    # sorting values is much cheaper than sorting places, and most queries have no copies
    rows = np.flatnonzero((plain[:, 1:] == plain[:, :-1]).any(axis=1))
    order = np.argsort(texts_QK[rows], axis=1, kind="stable")
    ordered = np.take_along_axis(texts_QK[rows], order, axis=1)
    real = ~np.take_along_axis(pad_QK[rows], order, axis=1)
    copy = np.zeros(order.shape, dtype=bool)
    copy[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & real[:, 1:] & real[:, :-1]
    marked = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(marked, order, copy, axis=1)
    out[rows] = marked
    return out


def margin_ceiling(pos_scores_Q: F32, margin: float) -> F32:
    """TopK-MarginPos: `s_pos - margin`, float32 [Q]."""
    return (pos_scores_Q.astype(np.float64) - margin).astype(np.float32)


def percent_ceiling(pos_scores_Q: F32, percent: float) -> F32:
    """TopK-PercPos, sign-safe: `s_pos - (1 - percent) * |s_pos|`, float32 [Q]."""
    pos = pos_scores_Q.astype(np.float64)
    return (pos - (1.0 - percent) * np.abs(pos)).astype(np.float32)


def score_reasons(scores_QK: F32, pos_scores_Q: F32, config: FilterConfig) -> U16:
    """Reasons from the positive-aware rules that `config` turns on, uint16 [Q, K].

    All scores are on the scale that `config.calibrate` names.
    """
    reasons = np.zeros(scores_QK.shape, dtype=np.uint16)
    ceilings: list[tuple[Reason, F32]] = []
    if config.margin is not None:
        ceilings.append((Reason.MARGIN, margin_ceiling(pos_scores_Q, config.margin)))
    if config.percent is not None:
        ceilings.append((Reason.PERCENT, percent_ceiling(pos_scores_Q, config.percent)))
    if config.max_score is not None:
        level = np.full(pos_scores_Q.shape, config.max_score, dtype=np.float32)
        ceilings.append((Reason.MAX_SCORE, level))
    for reason, ceiling in ceilings:
        above = scores_QK > ceiling[:, None]
        if config.ties == "drop":
            above |= scores_QK == ceiling[:, None]
        reasons[above & np.isfinite(scores_QK)] |= np.uint16(reason)
    return reasons


def ceilings_line(config: FilterConfig) -> str:
    """Which of the rules of `score_reasons` hold, in words."""
    values = {f"filters.{name}": getattr(config, name) for name in CEILINGS}
    held = [f"{rule}={value:g}" for rule, value in values.items() if value is not None]
    off = [rule for rule, value in values.items() if value is None]
    line = f"ceilings of scores: {', '.join(held) or 'none'}"
    line += f"; off: {', '.join(off)}" * bool(off)
    if config.percent is None and "percent" not in config.model_fields_set:
        default = f"filters.percent={DEFAULT_PERCENT:g}"
        line += f" ({default} is the default of a run without a section filters; give it here too)"
    return line


def positive_scores(pair_scores_P: F32, pair_query_P: I64, n_queries: int, how: str) -> F32:
    """One score for each query out of its positives' scores: `min` (so too `each`), `mean`, `max`.

    `pair_query_P` [P] ascends and numbers the queries 0 to `n_queries` - 1, each at least once.
    """
    starts = np.searchsorted(pair_query_P, np.arange(n_queries))
    scores = pair_scores_P.astype(np.float64)
    if how == "mean":
        counts = np.diff(np.append(starts, scores.size))
        return (np.add.reduceat(scores, starts) / counts).astype(np.float32)
    reduce = np.maximum if how == "max" else np.minimum
    return np.asarray(reduce.reduceat(scores, starts), dtype=np.float32)


def allowed_rank(reasons_QK: U16) -> npt.NDArray[np.int64]:
    """0-based rank among the candidates without a structural reason, int64 [Q, K].

    Score filters do not change it: "skip the first ten" means the first ten retrieved.
    """
    allowed = (reasons_QK & np.uint16(STRUCTURAL)) == 0
    return np.cumsum(allowed, axis=1) - 1

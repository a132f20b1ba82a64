"""Why a candidate was kept or rejected, in words and with the numbers that decided it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...core.candidates import PAD_ID, Reason
from ...core.encoder import F32
from ...core.text import normalise
from ...miner.calibrate import RAW, Calibration
from ...miner.filters import U16, FilterConfig, margin_ceiling, percent_ceiling
from .shown import count, number

_CEILINGS = (Reason.MARGIN, Reason.PERCENT, Reason.MAX_SCORE)


@dataclass(frozen=True, slots=True)
class Explainer:
    """What the sentences need of a run.

    `calibration` is None where its scale is not known any more. `denoised` are activated scores of
    a cross-encoder by query and document, `threshold` what they must be below.
    """

    filters: FilterConfig
    calibration: Calibration | None = RAW
    denoised: Mapping[tuple[str, str], float] | None = None
    threshold: float | None = None

    def why(
        self, reasons: int, score: float, pos_score: float, pair: tuple[str, str], copy_of: str
    ) -> list[str]:
        """A sentence for each reason that is set; `copy_of` says what an equal text belongs to."""
        found = []
        for reason in Reason:
            if reasons & reason and reason is not Reason.PAD:
                found.append(self._one(reason, score, pos_score, pair, copy_of))
        return found

    def _one(
        self, reason: Reason, score: float, pos_score: float, pair: tuple[str, str], copy_of: str
    ) -> str:
        if reason in _CEILINGS:
            return self._ceiling(reason, score, pos_score)
        if reason is Reason.DENOISED:
            return self._denoised(pair)
        filters = self.filters
        return {
            Reason.NONFINITE: "its score is not finite",
            Reason.POSITIVE: "a labelled positive, of this query or an equal one",
            Reason.SAME_TEXT: f"same text as {copy_of or 'the query or one of its positives'}",
            Reason.DUPLICATE: f"same text as {copy_of or 'a candidate before it'}",
            Reason.CLUSTER: f"max_per_cluster: {count(filters.max_per_cluster or 0)} candidates"
            " before it are of its cluster",
            Reason.NEAR_DUPLICATE: self._near(),
            Reason.TWO_CONDITIONS: "two_conditions: not nearer to the query than the positive is,"
            " or not nearer to the query than to the positive",
            Reason.CLUSTER_FALSE_NEGATIVE: "cluster_false_negatives: in a positive's cluster, and"
            " nearer to the positive than the cluster's centre is",
        }[reason]

    def _ceiling(self, reason: Reason, score: float, pos_score: float) -> str:
        """The comparison that a score rule made, on the scale it was made on."""
        filters, scale = self.filters, ""
        if filters.calibrate != "none":
            if self.calibration is None:
                return (
                    f"{str(reason.name).lower()}: too near its positive on the scale of"
                    f" calibrate={filters.calibrate}, which the run does not keep (raw:"
                    f" {number(score)}, positive {number(pos_score)})"
                )
            scale = f" ({filters.calibrate})"
            score = float(self.calibration.apply(np.array([score], dtype=np.float32))[0])
            pos_score = float(self.calibration.apply(np.array([pos_score], dtype=np.float32))[0])
        positive = np.array([pos_score], dtype=np.float32)
        if reason is Reason.MARGIN and filters.margin is not None:
            limit = float(margin_ceiling(positive, filters.margin)[0])
            name, less = "margin", f"less {filters.margin:g}"
        elif reason is Reason.PERCENT and filters.percent is not None:
            limit = float(percent_ceiling(positive, filters.percent)[0])
            name, less = "percent", f"less {100 * (1 - filters.percent):g}%"
        else:
            limit = filters.max_score if filters.max_score is not None else float("nan")
            name, less = "max_score", ""
        below = "below" if filters.ties == "drop" else "at most"
        told = f"{name}{scale}: {number(score)} is not {below} {number(limit)}"
        return f"{told}, the positive's {number(pos_score)} {less}" if less else told

    def _near(self) -> str:
        limits = [
            f"{name} {value:g}"
            for name, value in (
                ("a cosine to a positive of", self.filters.near_positive),
                ("a Jaccard similarity of words of", self.filters.near_text),
            )
            if value is not None
        ]
        return f"near duplicate: at least {' or '.join(limits)}"

    def _denoised(self, pair: tuple[str, str]) -> str:
        score = (self.denoised or {}).get(pair)
        if score is None or np.isnan(score):
            depth = self.filters.denoise.depth
            return f"cross-encoder: not read, since it is not among the first {depth}"
        limit = "-" if self.threshold is None else number(self.threshold)
        return f"cross-encoder: {number(score)} is not below {limit}"


def copies(query: str, positives: Sequence[tuple[str, str]], texts: Sequence[str]) -> list[str]:
    """For each candidate's text what has that text too: the query, a positive, one before it."""
    known = {normalise(query): "the query"}
    for name, text in positives:
        known.setdefault(normalise(text), f"the positive {name}")
    found = []
    for rank, text in enumerate(texts, start=1):
        key = normalise(text)
        found.append(known.get(key, ""))
        known.setdefault(key, f"candidate {rank}")
    return found


def by_reason(
    reasons_K: U16, ids_K: np.ndarray, chosen_K: np.ndarray, scores_K: F32
) -> list[list[str]]:
    """Rows (reason, count, range of scores) of the candidates that `chosen_K` bool [K] marks."""
    names = [("kept by the filters", reasons_K == 0)]
    for reason in Reason:
        words = f"rejected: {str(reason.name).lower().replace('_', ' ')}"
        names.append((words, (reasons_K & np.uint16(reason)) != 0))
    rows = []
    for words, here in names:
        scores = scores_K[here & chosen_K & (ids_K != PAD_ID)]
        if scores.size:
            between = f"{number(float(scores.min()))} to {number(float(scores.max()))}"
            rows.append([words, count(scores.size), between])
    return rows

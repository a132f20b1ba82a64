"""Counts of a mining run: a few numbers for each block, added up for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID, Candidates, Negatives, Reason
from ..core.encoder import F32
from .filters import U16

BINS = 80
TIERS = ("configured", "relaxed", "random_fill")
GROUPS = ("positives", "kept negatives", "rejected candidates")


@dataclass(slots=True)
class Tally:
    """Counts of queries, candidates, reasons and negatives, and three score histograms.

    `capped`: draws over `max_uses` that were `dropped`, those `replaced` by a spare and those still
    `missing`; empty without that cap. `most_used`: document ids and uses, for a whole run only.
    `denoise`: candidates that a cross-encoder `checked`, `unchecked` and `likely_positive` ones;
    empty without it.
    """

    queries: int = 0
    candidates: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    negatives: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    capped: Counter[str] = field(default_factory=Counter)
    denoise: Counter[str] = field(default_factory=Counter)
    most_used: list[tuple[str, int]] = field(default_factory=list)
    histograms: dict[str, list[int]] = field(
        default_factory=lambda: {g: [0] * BINS for g in GROUPS}
    )

    def merge(self, other: Tally) -> None:
        """Add another block's counts."""
        self.queries += other.queries
        self.candidates += other.candidates
        self.kept += other.kept
        self.reasons.update(other.reasons)
        self.negatives.update(other.negatives)
        self.tiers.update(other.tiers)
        self.sources.update(other.sources)
        self.dropped += other.dropped
        self.capped.update(other.capped)
        self.denoise.update(other.denoise)
        for group, counts in other.histograms.items():
            pairs = zip(self.histograms[group], counts, strict=True)
            self.histograms[group] = [a + b for a, b in pairs]

    def as_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads back."""
        return {
            "queries": self.queries,
            "candidates": self.candidates,
            "kept": self.kept,
            "reasons": dict(sorted(self.reasons.items())),
            "negatives_per_query": dict(sorted(self.negatives.items(), key=lambda i: int(i[0]))),
            "negatives_per_tier": dict(sorted(self.tiers.items())),
            "negatives_per_source": dict(sorted(self.sources.items())),
            "dropped_queries": self.dropped,
            "max_uses": dict(sorted(self.capped.items())),
            "denoise": dict(sorted(self.denoise.items())),
            "most_used": [list(pair) for pair in self.most_used],
            "histograms": self.histograms,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tally:
        """Inverse of `as_json`."""
        return cls(
            value["queries"],
            value["candidates"],
            value["kept"],
            Counter(value["reasons"]),
            Counter(value["negatives_per_query"]),
            Counter(value["negatives_per_tier"]),
            Counter(value["negatives_per_source"]),
            value["dropped_queries"],
            Counter(value["max_uses"]),
            Counter(value["denoise"]),
            [(name, uses) for name, uses in value["most_used"]],
            value["histograms"],
        )

    @property
    def drawn(self) -> int:
        """Negatives in all."""
        return sum(int(n) * queries for n, queries in self.negatives.items())


def tally_candidates(candidates: Candidates, reasons: U16, positives: F32, edges: F32) -> Tally:
    """Count what a block chooses from.

    `edges` [BINS + 1] are the score bins, `positives` [P] the scores of the block's positives.
    """
    real = candidates.ids != PAD_ID
    rejected = (reasons != 0) & real & np.isfinite(candidates.scores)
    scores = (positives, np.empty(0, dtype=np.float32), candidates.scores[rejected])
    return Tally(
        queries=reasons.shape[0],
        candidates=int(real.sum()),
        kept=int(((reasons == 0) & real).sum()),
        reasons=Counter({str(r.name): int(((reasons & np.uint16(r)) != 0).sum()) for r in Reason}),
        histograms={g: _histogram(s, edges) for g, s in zip(GROUPS, scores, strict=True)},
    )


def tally_negatives(negatives: Negatives, edges: F32) -> Tally:
    """Count what a block has chosen; its queries are counted with its candidates."""
    drawn = negatives.ids != PAD_ID
    per_query = np.unique(negatives.counts(), return_counts=True)
    tally = Tally(
        negatives=Counter({str(n): int(c) for n, c in zip(*per_query, strict=True)}),
        tiers=_counts(negatives.tiers[drawn], TIERS),
        sources=_counts(negatives.source[drawn], negatives.sources),
    )
    tally.histograms[GROUPS[1]] = _histogram(negatives.scores[drawn], edges)
    return tally


def _counts(numbers: npt.NDArray[np.uint8], names: Sequence[str]) -> Counter[str]:
    counts = np.bincount(numbers, minlength=len(names))
    return Counter({name: int(count) for name, count in zip(names, counts, strict=True)})


def score_edges(score_blocks: Iterable[F32]) -> F32:
    """Bin edges that cover every finite score, float32 [BINS + 1]."""
    low, high = np.inf, -np.inf
    for block in score_blocks:
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        low, high = 0.0, 1.0
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1).astype(np.float32)


def _histogram(scores: npt.NDArray[np.float32], edges: F32) -> list[int]:
    # a positive outside the retrieved range is counted in the bin at the border
    clipped = np.clip(scores, edges[0], edges[-1])
    counts, _ = np.histogram(clipped, bins=edges)
    return [int(c) for c in counts]

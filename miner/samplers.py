"""Samplers: each gives a log-weight to every candidate; adding them combines strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from ..core.config import Section
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.used import Rules, Used, only
from .filters import U16, allowed_rank

# wider than the whole range of the draw's Gumbel noise, so the better rank always wins
_RANK_STEP = 64.0

Name = Literal["topk", "random", "window", "scincl", "simans", "softmax", "popularity", "saha"]
Fallback = Literal["relax", "random_fill", "drop_query"]


class SamplerPart(Section):
    """One way to choose negatives out of the candidates that are left."""

    name: Name = Field("simans", description="which sampler; docs/samplers.md")
    source: str | None = Field(None, description="only candidates that this source ranked best")
    cluster: Literal["any", "second_nearest"] = Field(
        "any", description="only candidates of the cluster second nearest to the query's positive"
    )
    n: int = Field(4, ge=1, le=1000, description="negatives per query")
    a: float = Field(0.5, ge=0, le=1e9, description="SimANS: sharpness on the logit scale s / tau")
    b: float = Field(0.0, description="SimANS: the peak lies b logits above the positive")
    kernel: Literal["gauss", "laplace"] = Field(
        "gauss", description="SimANS: fall with the square of the distance, or with the distance"
    )
    tau: float = Field(0.05, gt=0, description="SimANS: temperature that makes scores logits")
    window_min: int = Field(10, ge=0, description="window: first rank, 0-based, included")
    window_max: int = Field(210, ge=1, description="window: last rank, excluded")

    temperature: float = Field(0.05, gt=0, description="softmax: low is the top, high is uniform")
    pool: int = Field(10, ge=1, description="softmax: of the best so many that the filters left")
    power: float = Field(
        0.75, ge=0, le=100, description="popularity: 0 is uniform, 1 is proportional to the count"
    )
    k_hard: int = Field(4000, ge=1, description="scincl: the last rank, from 1, included")
    c_hard: int = Field(2, ge=1, description="scincl: so many ranks up to k_hard")
    k_share: float = Field(
        0.05, gt=0, le=1, description="scincl: k_hard is at most this share of the corpus"
    )
    mult: int = Field(
        3, ge=1, le=1000, description="saha: n * mult owners are compared, the n least alike stay"
    )
    outside: bool = Field(False, description="random: none of the retrieved candidates")

    USED: ClassVar[Rules] = (
        only("a b kernel tau", "name", "simans"),
        only("window_min window_max", "name", "window"),
        only("temperature pool", "name", "softmax"),
        only("power", "name", "popularity"),
        only("k_hard c_hard k_share", "name", "scincl"),
        only("mult", "name", "saha"),
        only("outside", "name", "random"),
    )

    @model_validator(mode="after")
    def _consistent(self) -> SamplerPart:
        if self.window_min >= self.window_max:
            raise ValueError(
                f"sampler.window_min={self.window_min} must be below"
                f" sampler.window_max={self.window_max}"
            )
        if self.name == "scincl" and not self.n <= self.c_hard <= self.k_hard:
            raise ValueError(
                f"sampler.name=scincl with n={self.n}, c_hard={self.c_hard}, k_hard={self.k_hard}:"
                " expected n <= c_hard <= k_hard; set sampler.n and sampler.c_hard"
            )
        if self.name == "random" and self.cluster != "any":
            raise ValueError(
                f"sampler.cluster={self.cluster} with sampler.name=random: random documents come"
                " from the whole corpus; remove sampler.cluster or choose another sampler"
            )
        if self.name == "random" and self.source is not None:
            raise ValueError(
                f"sampler.source={self.source!r} with sampler.name=random: random documents come"
                " from the whole corpus and have no source; remove sampler.source"
            )
        return self


class SamplerConfig(SamplerPart):
    """Which of the remaining candidates become negatives: one way, or a mix of several."""

    mix: list[SamplerPart] = Field(
        [], description="several ways, each with its own n, in the order in which they choose"
    )
    on_short: list[Fallback] = Field(
        [], description="tried in turn where a query has too few; empty: it gets fewer"
    )
    max_uses: int | None = Field(
        None, ge=1, description="of one document in the whole run; spares replace what is over"
    )

    USED = (
        Used(
            tuple(SamplerPart.model_fields),
            ("mix",),
            lambda config: not config.mix,
            "set {key} in an item of {at}mix",
        ),
    )

    @property
    def parts(self) -> list[SamplerPart]:
        """The ways to choose, in order."""
        return self.mix or [self]

    @property
    def total(self) -> int:
        """Negatives per query in all."""
        return sum(part.n for part in self.parts)

    @property
    def label(self) -> str:
        """The names of the parts, for titles."""
        return " + ".join(f"{part.n} {part.source or ''} {part.name}" for part in self.parts)

    @property
    def needs_random(self) -> bool:
        """Whether documents are drawn from the whole corpus."""
        return "random_fill" in self.on_short or any(p.name == "random" for p in self.parts)

    @property
    def needs_clusters(self) -> bool:
        """Whether a part is kept to a cluster."""
        return any(p.cluster != "any" for p in self.parts)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a sampler sees: scores float32 [Q, K], reasons uint16 [Q, K], s_pos float32 [Q].

    `owners` int64 [Q, K], or [1, 1] for all alike: how many queries each is a positive of.
    `places` int64, likewise: SaHa's order, 0 the first, -1 for none. `documents` is the size of the
    corpus.
    """

    scores: F32
    reasons: U16
    pos_scores: F32
    owners: I64 = field(default_factory=lambda: np.zeros((1, 1), dtype=np.int64))
    places: I64 = field(default_factory=lambda: np.zeros((1, 1), dtype=np.int64))
    documents: int = 2**62


def topk(view: Scored, config: SamplerPart) -> F32:
    """The best first: weights so steep that noise cannot change the order."""
    ranks = np.arange(view.scores.shape[1], dtype=np.float32)
    return np.broadcast_to(-_RANK_STEP * ranks, view.scores.shape).astype(np.float32)


def uniform(view: Scored, config: SamplerPart) -> F32:
    """Every candidate alike."""
    return np.zeros(view.scores.shape, dtype=np.float32)


def window(view: Scored, config: SamplerPart) -> F32:
    """Uniform over the ranks `window_min` to `window_max` of the retrieved list.

    Ranks are 0-based and half-open, and count every document that is not a positive or a
    duplicate, before any score filter.
    """
    rank = allowed_rank(view.reasons)
    inside = (rank >= config.window_min) & (rank < config.window_max)
    return np.where(inside, 0.0, -np.inf).astype(np.float32)


def simans(view: Scored, config: SamplerPart) -> F32:
    """SimANS, arXiv 2210.11773: `-a * ((s - s_pos) / tau - b)^2`, on the logit scale.

    The `laplace` kernel is the absolute value in place of the square, as in the authors' code for
    MS MARCO passages (there a = 3).

    Computed as a logarithm, so nothing underflows when no candidate is near the positive.
    """
    finite = np.isfinite(view.scores)
    weights = np.where(finite, view.scores, np.float32(0)).astype(np.float64)
    weights -= view.pos_scores[:, None]
    weights /= config.tau
    weights -= config.b
    if config.kernel == "gauss":
        np.square(weights, out=weights)
    else:
        np.abs(weights, out=weights)
    weights *= -config.a
    out = weights.astype(np.float32)
    out[~finite] = -np.inf
    return out


def hard_rank(config: SamplerPart, documents: int) -> int:
    """The last rank of the SciNCL window, from 1: `min(k_hard, k_share * documents)`, cut down."""
    return min(config.k_hard, int(config.k_share * documents))


def check_hard_rank(config: SamplerPart, documents: int, depth: int) -> None:
    """Raise PyriteError if the window is empty, or not within `depth` retrieved documents."""
    last = hard_rank(config, documents)
    if last < config.n:
        raise PyriteError(
            f"sampler.k_share={config.k_share} of {documents} documents ends the window at rank"
            f" {last}, too low for sampler.n={config.n}; raise sampler.k_share"
        )
    # the positive itself is retrieved too
    if depth <= last:
        raise PyriteError(
            f"sampler.name=scincl ends its window at rank {last}, but retrieve.depth={depth}; set"
            f" retrieve.depth to at least {last + 1} or lower sampler.k_hard"
        )


def scincl(view: Scored, config: SamplerPart) -> F32:
    """SciNCL's hard window, arXiv 2202.06671: uniform over the ranks (k - c_hard, k], from 1.

    Ranks count as in `window`. The upper rank `k` does not depend on `c_hard`.
    """
    rank, last = allowed_rank(view.reasons), hard_rank(config, view.documents)
    inside = (rank >= last - config.c_hard) & (rank < last)
    return np.where(inside, np.float32(0), np.float32(-np.inf))


def softmax(view: Scored, config: SamplerPart) -> F32:
    """NV-Retriever's sampled variant: `s / temperature` among the best `pool` survivors."""
    kept = view.reasons == 0
    inside = kept & (np.cumsum(kept, axis=1) <= config.pool)
    scores = np.where(inside, view.scores, 0.0).astype(np.float64)
    return np.where(inside, scores / config.temperature, -np.inf).astype(np.float32)


def popularity(view: Scored, config: SamplerPart) -> F32:
    """Smoothed unigram, arXiv 1310.4546: `power * log(1 + queries it is a positive of)`."""
    weights = (config.power * np.log1p(view.owners)).astype(np.float32)
    return np.broadcast_to(weights, view.scores.shape)


def saha(view: Scored, config: SamplerPart) -> F32:
    """SaHa, arXiv 2508.00955: documents of the least similar owners first, whatever the noise."""
    weights = np.where(view.places >= 0, -_RANK_STEP * view.places, -np.inf)
    return np.broadcast_to(weights.astype(np.float32), view.scores.shape)


SAMPLERS: dict[str, Callable[[Scored, SamplerPart], F32]] = {
    "topk": topk,
    "random": uniform,
    "window": window,
    "scincl": scincl,
    "simans": simans,
    "softmax": softmax,
    "popularity": popularity,
    "saha": saha,
}


def log_weights(view: Scored, config: SamplerPart) -> F32:
    """Log-weights of the configured sampler, float32 [Q, K]; -inf wherever a reason is set."""
    weights = SAMPLERS[config.name](view, config)
    return np.where(view.reasons == 0, weights, np.float32(-np.inf))

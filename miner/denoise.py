"""Denoising: keep as negatives what a cross-encoder calls irrelevant too.

RocketQA, arXiv 2010.08191: of the first 50 candidates those below 0.1 are negatives, and one above
0.9 is a likely positive.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..core.cross_encoder import Activation, CrossEncoderConfig
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.used import ALL, only

Bool = npt.NDArray[np.bool_]


class DenoiseConfig(CrossEncoderConfig):
    """A cross-encoder's say in which candidates may be negatives."""

    model: str | None = Field(None, min_length=1, description="a path or a hub id; null: off")
    activation: Activation = Field(
        "auto", description="to a probability; auto: sigmoid for one label, softmax for two"
    )
    negative_below: float = Field(
        0.1, description="keep candidates that score below; calibrate: none"
    )
    positive_above: float = Field(0.9, description="above, a candidate is a likely positive")
    depth: int = Field(50, ge=1, description="candidates checked for each query, the first allowed")
    calibrate: Literal["none", "positives_quantile"] = Field(
        "none",
        description="positives_quantile: keep below a quantile of the labelled positives' scores",
    )
    quantile: float = Field(0.05, ge=0, le=1, description="of the labelled positives' scores")
    margin: float = Field(0.0, ge=0, description="the threshold is the quantile minus this")
    allow_unchecked: bool = Field(False, description="keep candidates beyond depth, unchecked")

    USED = (
        only(ALL, "model", off=None, instead="set {at}model to a cross-encoder"),
        only("quantile margin", "calibrate", "positives_quantile"),
        only("negative_below", "calibrate", "none"),
    )

    @model_validator(mode="after")
    def _thresholds(self) -> DenoiseConfig:
        for key in ("negative_below", "positive_above"):
            value = getattr(self, key)
            if self.activation != "none" and not 0 <= value <= 1:
                raise ValueError(
                    f"{key}={value:g}, but with activation={self.activation} scores are"
                    " probabilities in [0, 1]; lower it or set activation=none"
                )
        if self.negative_below > self.positive_above:
            raise ValueError(
                f"negative_below={self.negative_below:g} is over positive_above="
                f"{self.positive_above:g}: a document would be both; lower negative_below"
            )
        return self


def denoise_rejects(
    scores_QK: F32, rank_QK: I64, depth: int, threshold: float, allow_unchecked: bool
) -> Bool:
    """Which candidates denoising rejects, bool [Q, K].

    `scores_QK` are the cross-encoder's, NaN where it was not asked; `rank_QK` counts the allowed
    candidates from 0. The first `depth` are rejected unless they score below `threshold`; those
    beyond, and those without a score, unless `allow_unchecked`. Padding and other candidates that
    have a structural reason get an answer too, which means nothing.
    """
    checked = is_checked(scores_QK, rank_QK, depth)
    with np.errstate(invalid="ignore"):
        return np.where(checked, ~(scores_QK < threshold), not allow_unchecked)


def is_checked(scores_QK: F32, rank_QK: I64, depth: int) -> Bool:
    """Candidates that denoising decides by their score: among the first `depth`, and scored."""
    return np.asarray((rank_QK < depth) & ~np.isnan(scores_QK))


def pseudo_positives(scores_QK: F32, positive_above: float) -> I64:
    """The column of each query's best score if it is above `positive_above`, else -1; int64 [Q].

    RocketQA's labels for queries that have none. The earlier candidate wins a tie; NaN never does.
    """
    if not scores_QK.shape[1]:
        return np.full(scores_QK.shape[0], -1, dtype=np.int64)
    known = np.where(np.isnan(scores_QK), -np.inf, scores_QK)
    best = known.argmax(axis=1)
    top = np.take_along_axis(known, best[:, None], axis=1)[:, 0]
    return np.where(top > positive_above, best, -1).astype(np.int64)


def fit_threshold(config: DenoiseConfig, positives_P: F32) -> float:
    """The score below which a candidate is a negative.

    `none`: `negative_below`. `positives_quantile`: the quantile of the labelled positives' scores,
    interpolated, minus the margin; never below 0 for probabilities. Raises PyriteError if that
    leaves no score below it.
    """
    if config.calibrate == "none":
        return config.negative_below
    level = float(np.quantile(positives_P.astype(np.float64), config.quantile))
    threshold = level - config.margin
    if config.activation != "none" and threshold <= 0:
        raise PyriteError(
            f"filters.denoise.margin={config.margin:g}: the quantile {config.quantile:g} of the"
            f" {positives_P.size} labelled positives' scores is {level:.4g}, so no probability is"
            " below the threshold; lower filters.denoise.margin or raise filters.denoise.quantile"
        )
    return threshold

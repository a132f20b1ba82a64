"""Calibration: scores on a scale of the run's own, so that one setting fits several encoders.

A margin on cosines does not carry over: one encoder spreads its cosines from 0 to 0.9, another
packs them between 0.6 and 0.9. Percentiles and standard deviations do not see the difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..core.encoder import F32
from ..core.errors import PyriteError

F64 = npt.NDArray[np.float64]
Method = Literal["none", "ecdf", "zscore"]

SAMPLE_SCORES = 1 << 18


def _nothing() -> F32:
    return np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A non-decreasing map from an encoder's scores to a scale that encoders share.

    `none` changes nothing. `ecdf` is the share of the run's positive scores, `reference` float32
    [P] ascending, that are at most s: within [0, 1], constant between two positives. `zscore` is
    `(s - mean) / std`. Under every method a score that is not finite stays what it is.
    """

    method: Method = "none"
    reference: F32 = field(default_factory=_nothing)
    mean: float = 0.0
    std: float = 1.0

    def apply(self, scores: F32) -> F32:
        """Calibrated scores, float32 of the same shape."""
        if self.method == "none":
            return scores
        values = self._share(scores) if self.method == "ecdf" else self._deviations(scores)
        return np.where(np.isfinite(scores), values, scores).astype(np.float32)

    def _share(self, scores: F32) -> F64:
        # counted with "at most", a score below the positive stays below it, however close it is
        below = np.searchsorted(self.reference, scores, side="right")
        return np.asarray(below / self.reference.size, dtype=np.float64)

    def _deviations(self, scores: F32) -> F64:
        return (scores.astype(np.float64) - self.mean) / self.std


RAW = Calibration()


def fit_calibration(method: Method, positives_P: F32, scores_QK: F32) -> Calibration:
    """Fit a calibration once, on a whole run.

    `ecdf` uses the finite scores of all positives, `positives_P`. `zscore` uses the finite scores
    among the candidates' `scores_QK`: all of them up to `SAMPLE_SCORES`, beyond that those of every
    m-th query. So neither blocks nor the order of files have a say. Raises PyriteError where there
    is no finite score, or where the candidates' scores are all the same.
    """
    if method == "none":
        return RAW
    if method == "ecdf":
        finite = positives_P[np.isfinite(positives_P)]
        _check_some(method, finite, "positive")
        return Calibration("ecdf", reference=np.sort(finite).astype(np.float32))
    step = max(1, -(-scores_QK.size // SAMPLE_SCORES))
    sample = np.asarray(scores_QK[::step])
    finite = sample[np.isfinite(sample)]
    _check_some(method, finite, "candidate")
    mean, std = _moments(finite)
    if std == 0.0:
        raise PyriteError(
            f"filters.calibrate=zscore: all {finite.size} candidate scores are {mean:g}, so they"
            " have no standard deviation; set filters.calibrate to ecdf or none"
        )
    return Calibration("zscore", mean=mean, std=std)


def _check_some(method: str, finite: F32, what: str) -> None:
    if not finite.size:
        raise PyriteError(
            f"filters.calibrate={method}: there is no finite {what} score to fit it on; check the"
            " encoder, or set filters.calibrate=none"
        )


def _moments(values: F32) -> tuple[float, float]:
    # summed exactly: numpy's sum rounds differently from one processor to the next
    if values.min() == values.max():
        return float(values[0]), 0.0
    numbers = values.astype(np.float64)
    mean = math.fsum(numbers.tolist()) / numbers.size
    return mean, math.sqrt(math.fsum(((numbers - mean) ** 2).tolist()) / numbers.size)

"""Scores to probabilities: Platt scaling, and how good the probabilities are.

Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
methods", 1999. The expected calibration error with bins of equal width is that of Guo et al., "On
calibration of modern neural networks", arXiv 1706.04599; the score of a probability is that of
Brier, "Verification of forecasts expressed in terms of probability", 1950.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy.special import expit

from ...core.digest import u64_array
from ...core.errors import PyriteError
from ...core.rng import combine, stream

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

FOLDS, BINS = 5, 10
_PURPOSE = 47
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scores float64 [n] with labels bool [n] and weights float64 [n]; `groups` [n] stay whole."""

    scores: F64
    labels: Bool
    weights: F64
    groups: Sequence[str]

    def part(self, places: Bool) -> Labelled:
        """The pairs at `places`, bool [n]."""
        groups = [group for group, here in zip(self.groups, places.tolist(), strict=True) if here]
        return Labelled(self.scores[places], self.labels[places], self.weights[places], groups)


@dataclass(frozen=True, slots=True)
class Platt:
    """P(relevant) = sigmoid((score - bias) / temperature), which rises with the score."""

    bias: float
    temperature: float

    def probabilities(self, scores: F64) -> F64:
        """In [0, 1], float64 [n]."""
        return np.asarray(expit((scores - self.bias) / self.temperature), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs with a probability in one of ten equal parts of [0, 1], and the means of both sides."""

    pairs: int
    weight: float
    probability: float
    relevant: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How good probabilities are, 0 the best: Brier score, expected calibration error, its bins."""

    brier: float
    ece: float
    bins: tuple[Bin | None, ...]


def fit_platt(data: Labelled) -> Platt:
    """The likeliest bias and temperature, to six digits, with Platt's smoothed labels.

    The smoothing, (n+ + 1) / (n+ + 2) for relevant and 1 / (n- + 2) for the others, bounds the
    slope where one threshold would part the two. Raises PyriteError if the scores are all equal, or
    do not rise with the labels.
    """
    centre, spread = float(data.scores.mean()), float(data.scores.std())
    if not spread > 0:
        raise PyriteError(f"all {data.scores.size} scores are {centre:g}: nothing to calibrate")
    positives = int(data.labels.sum())
    negatives = data.labels.size - positives
    targets = np.where(data.labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = data.weights / data.weights.sum()
    scaled = (data.scores - centre) / spread

    def loss(parameters: F64) -> tuple[float, F64]:
        logits = parameters[0] * scaled + parameters[1]
        off = weights * (expit(logits) - targets)
        value = float((weights * (np.logaddexp(0.0, logits) - targets * logits)).sum())
        return value, np.array([(off * scaled).sum(), off.sum()])

    found = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9})
    slope, shift = (float(value) for value in found.x)
    if not slope > 0:
        raise PyriteError(
            f"the scores of {positives} relevant and {negatives} other pairs do not rise with"
            " relevance: no temperature makes probabilities of them; check the labels, or take"
            " another judge"
        )
    return Platt(six_digits(centre - spread * shift / slope), six_digits(spread / slope))


def separable(data: Labelled) -> bool:
    """Whether one threshold parts relevant pairs from the others, so that no slope is the best."""
    relevant, others = data.scores[data.labels], data.scores[~data.labels]
    return bool(relevant.min() > others.max())


def out_of_fold(data: Labelled, seed: int) -> F64:
    """The probability of each pair by a fit without its group's fold, float64 [n].

    Folds are drawn by `seed`, and each has its share of the groups with a relevant pair. Raises
    PyriteError as `fit_platt`, or if fewer than two groups have a relevant pair.
    """
    folds = _folds(data, seed)
    out = np.empty(data.scores.size)
    for fold in range(FOLDS):
        here = folds == fold
        if here.any():
            out[here] = fit_platt(data.part(~here)).probabilities(data.scores[here])
    return out


def _folds(data: Labelled, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each pair, int64 [n]."""
    names = sorted(set(data.groups))
    pairs = zip(data.groups, data.labels.tolist(), strict=True)
    relevant = {group for group, label in pairs if label}
    if len(relevant) < 2:
        raise PyriteError(
            f"all relevant pairs are of {len(relevant)} query: nothing can be held out to measure"
            " the fit; label pairs of more queries"
        )
    keys = combine(stream(seed, 0, _PURPOSE), u64_array(names)).tolist()
    order = sorted(range(len(names)), key=lambda at: (names[at] not in relevant, keys[at]))
    fold_of = {names[at]: place % FOLDS for place, at in enumerate(order)}
    return np.array([fold_of[group] for group in data.groups], dtype=np.int64)


def quality(probabilities: F64, data: Labelled) -> Quality:
    """Brier score and expected calibration error of `probabilities` float64 [n], weighted."""
    share = data.weights / data.weights.sum()
    brier = float((share * (probabilities - data.labels) ** 2).sum())
    places = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    bins = tuple(_bin(places == at, probabilities, data.labels, share) for at in range(BINS))
    gaps = [b.weight * abs(b.probability - b.relevant) for b in bins if b is not None]
    return Quality(brier, float(sum(gaps)), bins)


def _bin(here: Bool, probabilities: F64, labels: Bool, share: F64) -> Bin | None:
    weight = float(share[here].sum())
    if not here.any():
        return None
    mean = float((share * probabilities)[here].sum()) / weight
    return Bin(int(here.sum()), weight, mean, float((share * labels)[here].sum()) / weight)


def six_digits(value: float) -> float:
    """Six digits: the last bits of a minimum differ from one machine to another."""
    return float(f"{value:.{_DIGITS}g}")

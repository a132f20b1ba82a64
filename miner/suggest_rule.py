"""What a setting does to the sampled queries, and which setting to take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .suggest_grid import Setting
from .truth import TruthRow

MIN_FILLED = 0.9
# 0.5 is what negatives that score exactly like positives get; half of that is a clear distance
MAX_PROXY = 0.25
MAX_OF_WORST = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a setting does to the sampled queries; all shares are within [0, 1].

    `kept`: retrieved candidates that no filter rejects. `short`: queries that get fewer negatives
    than configured, before any fall-back. `filled`: drawn negatives, of those configured; where
    `drop_query` is the first fall-back those of short queries do not count. `hardness`: mean of
    (score of a drawn negative - score of its query's positive). `proxy`: over the drawn negatives,
    the mean share of all known positives of the run that score at most as high; it reads high,
    because most documents that score like a positive are none. The last two are None where nothing
    is drawn. `hidden`: what the truth test found, None where too few queries can be tested.
    """

    setting: Setting
    kept: float
    short: float
    filled: float
    hardness: float | None
    proxy: float | None
    hidden: TruthRow | None = None

    @property
    def false_negatives(self) -> float | None:
        """The truth test's share where there is one, else the proxy."""
        return self.proxy if self.hidden is None else self.hidden.false_negatives

    def as_json(self) -> dict[str, Any]:
        """A JSON value, with the sections to paste."""
        hidden = self.hidden
        return {
            "setting": self.setting.label,
            "kept": self.kept,
            "short": self.short,
            "filled": self.filled,
            "hardness": self.hardness,
            "false_negatives": self.false_negatives,
            "false_negatives_ci95": hidden.false_negatives_ci95 if hidden else None,
            "proxy": self.proxy,
            "hidden_drawn": hidden.found if hidden else None,
            "config": self.setting.sections(),
        }


def limit_of(outcomes: Sequence[Outcome], asked: float | None) -> float:
    """The highest share of false negatives to recommend: `asked`, or one for the estimate.

    `MAX_PROXY` for the proxy. What the truth test finds depends on how many positives are known, so
    there it is `MAX_OF_WORST` times the highest share of the settings that fill `MIN_FILLED`, or of
    all where none does.
    """
    if asked is not None:
        return asked
    if any(o.hidden is None for o in outcomes):
        return MAX_PROXY
    # few negatives make a share of chance: one draw more could double the limit
    filling = [o for o in outcomes if _missing(o) == 0] or outcomes
    return MAX_OF_WORST * max((o.false_negatives or 0.0 for o in filling), default=0.0)


def recommend(outcomes: Sequence[Outcome], limit: float) -> Outcome | None:
    """The hardest outcome that fills `MIN_FILLED` within `limit`; of equals the first, or None."""
    fit = [o for o in outcomes if _missing(o) == 0 and _share(o) <= limit]
    return max(fit, key=_hardness, default=None)


def closest(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The outcome that lacks the fewest negatives up to `MIN_FILLED`; None if none draws.

    Of equals the one with the fewest false negatives, then the hardest, then the first.
    """
    drawing = [o for o in outcomes if o.hardness is not None]
    return min(drawing, key=lambda o: (_missing(o), _share(o), -_hardness(o)), default=None)


def _missing(outcome: Outcome) -> float:
    return max(0.0, MIN_FILLED - outcome.filled)


def _share(outcome: Outcome) -> float:
    found = outcome.false_negatives
    return math.inf if found is None else found


def _hardness(outcome: Outcome) -> float:
    return -math.inf if outcome.hardness is None else outcome.hardness

"""The gate: whether a fresh generation of negatives is good enough to train on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field, model_validator

from ..core.config import Section
from ..core.dataset import SPLIT

NDCG = "ndcg@10"
# a mean of counted shares may miss a limit by its last bit
_ROUNDING = 1e-9


class GateSection(Section):
    """Limits that a generation must keep to be adopted; without any, each one is."""

    split: str | None = Field(
        None,
        pattern=SPLIT,
        description="such as dev: the weights behind a generation are measured there; null: never",
    )
    max_ndcg_drop: float | None = Field(
        None, ge=0, le=1, description="below the best nDCG@10 of the adopted ones, on gate.split"
    )
    min_overlap: float | None = Field(
        None, ge=0, le=1, description="share of the negatives that the last generation had too"
    )
    max_false_negative_share: float | None = Field(
        None, ge=0, le=1, description="of the negatives, as estimated (docs/refresh-gate.md)"
    )

    @model_validator(mode="after")
    def _measured(self) -> GateSection:
        if self.max_ndcg_drop is not None and self.split is None:
            raise ValueError(
                f"max_ndcg_drop={self.max_ndcg_drop:g} has nothing to be measured on; set split"
                " beside it, such as split=dev"
            )
        return self


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured of a generation; None where it was not, or could not be.

    `ndcg` is that of the weights that mined it, `best_ndcg` the highest of the generations adopted
    before; `overlap` is the share of its negatives that the last adopted one had too. Both are None
    for the first. `false_negative_share` is an estimate.
    """

    ndcg: float | None = None
    best_ndcg: float | None = None
    overlap: float | None = None
    false_negative_share: float | None = None


def decide(gate: GateSection, facts: Facts) -> tuple[str, ...]:
    """Reasons to refuse a generation, a sentence each; none: it is adopted.

    A number that is not finite is refused wherever its limit is set. So is a missing one, except
    where there is nothing to compare with yet: no `best_ndcg`, no `overlap`.
    """
    found = (_ndcg(gate, facts), _overlap(gate, facts), _false_negatives(gate, facts))
    return tuple(reason for reason in found if reason is not None)


def _ndcg(gate: GateSection, facts: Facts) -> str | None:
    limit, best = gate.max_ndcg_drop, facts.best_ndcg
    if limit is None:
        return None
    what, knob = f"nDCG@10 on {gate.split}", f"refresh.gate.max_ndcg_drop={limit:g}"
    if facts.ndcg is None:
        return _missing(what, knob)
    if not math.isfinite(facts.ndcg) or not math.isfinite(best or 0.0):
        return _not_finite(what, f"{facts.ndcg}, the best so far {best}", knob)
    if best is None or best - facts.ndcg <= limit + _ROUNDING:
        return None
    return (
        f"{what} of the weights is {facts.ndcg:.4f}, {best - facts.ndcg:.4f} below the best adopted"
        f" so far, over {knob}; raise it, or lower train.learning_rate"
    )


def _overlap(gate: GateSection, facts: Facts) -> str | None:
    limit, value = gate.min_overlap, facts.overlap
    if limit is None or value is None:
        return None
    what, knob = "overlap with the last generation", f"refresh.gate.min_overlap={limit:g}"
    if not math.isfinite(value):
        return _not_finite(what, str(value), knob)
    if value >= limit - _ROUNDING:
        return None
    return f"{what} is {value:.4f}, under {knob}; lower it, or refresh.every_steps"


def _false_negatives(gate: GateSection, facts: Facts) -> str | None:
    limit, value = gate.max_false_negative_share, facts.false_negative_share
    if limit is None:
        return None
    what, knob = (
        "estimated share of false negatives",
        f"refresh.gate.max_false_negative_share={limit:g}",
    )
    if value is None:
        return _missing(what, knob)
    if not math.isfinite(value):
        return _not_finite(what, str(value), knob)
    if value <= limit + _ROUNDING:
        return None
    return f"{what} is {value:.4f}, over {knob}; raise it, or tighten filters.percent"


def _missing(what: str, knob: str) -> str:
    return f"{what} was not measured, but {knob} limits it; set it to null"


def _not_finite(what: str, value: str, knob: str) -> str:
    return f"{what} is {value}, no finite number to hold against {knob}; lower train.learning_rate"

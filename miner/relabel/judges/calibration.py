"""What `pyrite calibrate` fitted for a judge, in a file that the judge's section names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ....core.errors import PyriteError
from ....core.used import Used
from ..case import Case
from ..platt import F64, Platt

SCHEMA, KIND = 1, "calibration"


class ScoringJudge(Protocol):
    """A judge whose verdicts are thresholds on the probability that a raw score stands for."""

    @property
    def label(self) -> str:
        """Names the judge in tables."""

    @property
    def scores_key(self) -> str:
        """Digest of all that decides a raw score, except the case."""

    @property
    def platt(self) -> Platt:
        """How it makes probabilities of its scores."""

    def raw_scores(self, cases: Iterable[Case]) -> Iterator[tuple[Case, F64]]:
        """Each case with a score for each of its documents, float64 [documents]."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How the section `knob` says that scores become probabilities."""

    bias: float
    temperature: float
    calibration: str | None
    knob: str

    def platt(self, scores_key: str) -> Platt:
        """The section's own numbers, or those fitted for the scores that `scores_key` names.

        Raises PyriteError if the file is missing, is no calibration, or is one of other scores.
        """
        if self.calibration is None:
            return Platt(self.bias, self.temperature)
        found = read_calibration(Path(self.calibration), f"{self.knob}.calibration")
        if found["scores"] != scores_key:
            raise PyriteError(
                f"{self.knob}.calibration={self.calibration} was fitted to the scores of"
                f" {found['judge']} with other weights or settings; run pyrite calibrate again, or"
                " set the section as it was"
            )
        return Platt(found["bias"], found["temperature"])


# numbers have no place beside the file that is to have them
NUMBERS_ARE_USED = Used(
    ("bias", "temperature"),
    ("calibration",),
    lambda section: section.calibration is None,
    "set {at}calibration=null",
)


def read_calibration(path: Path, knob: str) -> dict[str, Any]:
    """The JSON of a calibration; raises PyriteError, naming `knob`, if `path` is none."""
    again = "; run pyrite calibrate to make one"
    if not path.is_file():
        raise PyriteError(f"{knob}={path}: no such file{again}")
    try:
        data = json.loads(path.read_text("utf-8"))
        whole = data["kind"] == KIND and data["schema"] == SCHEMA
        numbers = float(data["bias"]), float(data["temperature"])
        strings = str(data["scores"]), str(data["judge"])
    except (ValueError, KeyError, TypeError) as error:
        raise PyriteError(f"{knob}={path}: no calibration{again}") from error
    if not whole or not numbers[1] > 0:
        raise PyriteError(f"{knob}={path}: no calibration of schema {SCHEMA}{again}")
    names = ("bias", "temperature", "scores", "judge")
    return dict(zip(names, (*numbers, *strings), strict=True))

"""A judge that must call a made text not relevant, or it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..relabel.cascade import StoppedError
from ..relabel.case import Case, Judge
from ..relabel.ruling import reason, rulings
from ..relabel.stage_tally import StageTally


@dataclass(frozen=True, slots=True)
class Check:
    """A judge with its counts. What it cannot decide does not pass: an unread reply is no yes."""

    judge: Judge
    tally: StageTally

    @classmethod
    def of(cls, judge: Judge, prompt: str) -> Check:
        """A judge that has judged nothing yet; `prompt` tells it from the same model's other."""
        label = f"{judge.label} ({prompt})" if prompt else judge.label
        return cls(judge, StageTally(label, judge.price))

    def passed(self, cases: Sequence[Case]) -> list[list[bool]]:
        """For each case which of its documents are not relevant.

        Raises StoppedError if the budget ended before the cases did.
        """
        found: dict[str, list[bool]] = {}
        for case, judgement in self.judge.judge(case for case in cases if case.documents):
            self.tally.add_call(judgement)
            # anything relevant is no negative, also where it serves less well than the positives
            ruled = rulings(judgement.verdicts, "relevant", None, False)
            self.tally.add_rulings(ruled)
            for verdict, ruling in zip(judgement.verdicts, ruled, strict=True):
                if ruling == "unknown":
                    self.tally.unknown[reason(verdict, judgement)] += 1
            found[case.row] = [ruling == "clean" for ruling in ruled]
        if self.judge.stopped is not None:
            raise StoppedError(self.judge.stopped)
        return [found[case.row] if case.documents else [] for case in cases]

    def as_json(self) -> dict[str, Any]:
        """Counts that the verdicts decide; `passed`, `false_negative` and `undecided` are all."""
        counts = self.tally.rulings
        return {
            "check": self.tally.label,
            "seen": self.tally.seen,
            "passed": counts["clean"],
            "false_negative": counts["false_negative"],
            "undecided": dict(sorted(self.tally.unknown.items())),
            "cut_texts": self.tally.cut_texts,
        }

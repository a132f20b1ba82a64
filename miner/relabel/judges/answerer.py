"""What is special to one kind of judge; all else is `StoredJudge`'s."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol

from ..case import Case, Estimate, Judgement
from .caller import Caller


class BudgetSpent(Exception):
    """A call was not made, because the budget has no room for it."""


class Answerer(Caller, Protocol):
    """Answers one call at a time in each of `concurrency` threads."""

    def parts(self, case: Case) -> list[Case]:
        """The case as cases of one call each, the documents in order."""

    def cut_texts(self, case: Case) -> int:
        """How many of the case's texts are too long to be shown whole."""

    def answers(self, part: Case, stop: threading.Event) -> Iterator[Judgement]:
        """Judge what fits into one call: each reply as it arrives, the last one is the answer.

        A reply that cannot be used is asked for again. Raises BudgetSpent if there is no money for
        a call, CancelledError instead of waiting once `stop` is set, and PyriteError if no case
        can be judged.
        """

    def estimate(self, part: Case) -> Estimate:
        """What one part takes."""

"""What is special to one kind of judge; all else is `StoredJudge`'s."""

from __future__ import annotations

import threading
from typing import Protocol

from ..case import Case, Estimate, Judgement
from ..price import Price


class BudgetSpent(Exception):
    """A call was not made, because the budget has no room for it.

    `paid` is what earlier attempts at the same part took, None if there were none.
    """

    def __init__(self, paid: Judgement | None = None) -> None:
        super().__init__("the budget is spent")
        self.paid = paid


class Answerer(Protocol):
    """Answers one call at a time in each of `concurrency` threads."""

    @property
    def label(self) -> str:
        """Names the judge in tables."""

    @property
    def key(self) -> str:
        """Digest of all that decides a verdict, except the case."""

    @property
    def price(self) -> Price:
        """What its tokens cost."""

    @property
    def concurrency(self) -> int:
        """Calls under way at once."""

    def parts(self, case: Case) -> list[Case]:
        """The case as cases of one call each, the documents in order."""

    def answer(self, part: Case, stop: threading.Event) -> Judgement:
        """Judge what fits into one call, trying again where that can help.

        Raises BudgetSpent if there is no money for it, CancelledError instead of waiting once
        `stop` is set, and PyriteError if no case can be judged.
        """

    def estimate(self, part: Case) -> Estimate:
        """What one part takes."""

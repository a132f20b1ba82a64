"""A judge that is a function, for tests and for oracles that know the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ....core.digest import digest_texts
from ....core.encoders.common import approximate_lengths
from ..case import Case, Estimate, Judgement, Verdict
from ..price import FREE, Price

Answer = Callable[[Case], Sequence[Verdict] | Judgement]


class ScriptedJudge:
    """Calls `answer` with each case, in order; it returns verdicts or a whole judgement.

    `label` names what the function computes: change it when the function changes.
    """

    def __init__(self, answer: Answer, label: str = "scripted", price: Price = FREE) -> None:
        self._answer = answer
        self._label = label
        self._price = price
        self.asked: list[Case] = []

    @property
    def label(self) -> str:
        return self._label

    @property
    def key(self) -> str:
        return digest_texts(["scripted", self._label])

    @property
    def price(self) -> Price:
        return self._price

    @property
    def stopped(self) -> str | None:
        return None

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Judgement]]:
        for case in cases:
            self.asked.append(case)
            found = self._answer(case)
            if not isinstance(found, Judgement):
                tokens = self.estimate(case)
                found = Judgement(
                    "ok", tuple(found), tokens.prompt_tokens, tokens.completion_tokens, 1
                )
            if len(found.verdicts) != len(case.documents):
                wanted = f"{len(case.documents)} documents"
                raise ValueError(f"{self._label}: {len(found.verdicts)} verdicts for {wanted}")
            yield case, found

    def estimate(self, case: Case) -> Estimate:
        texts = [case.query, *(doc.full for doc in (*case.truths, *case.documents))]
        return Estimate(1, int(approximate_lengths(texts).sum()), len(case.documents))

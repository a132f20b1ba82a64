"""What a judge is asked, what it answers, and what every judge can do.

A reply that cannot be read says nothing about its documents: each gets `UNKNOWN`, which is neither
"relevant" nor "not relevant".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from ..training_row import Doc
from .price import Price

VsTruth = Literal["better", "equal", "worse", "na"]
State = Literal["ok", "parse_error", "truncated", "refused", "index_error", "failed"]
STATES: tuple[State, ...] = (
    "ok",
    "parse_error",
    "truncated",
    "refused",
    "index_error",
    "failed",
)


@dataclass(frozen=True, slots=True)
class Case:
    """The documents of a row that are to be judged against its positives, `truths`.

    `row` names the row in reports and errors, and has no say in a verdict.
    """

    row: str
    query: str
    truths: tuple[Doc, ...]
    documents: tuple[Doc, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says about one document; `relevant` is None where it said nothing.

    `vs_truth` compares a relevant document with the truths ("na": it is not relevant, or the
    judge does not compare); `probability` is that of "relevant", in [0, 1], if the judge has one.
    `by_person`: a person said it, so that no judge was asked.
    """

    relevant: bool | None
    vs_truth: VsTruth | None = None
    probability: float | None = None
    why: str = ""
    by_person: bool = False


UNKNOWN = Verdict(None)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of a case in the order of its documents, and what they took.

    `state` is `ok` if every document has been decided, abstentions included; otherwise it says
    what went wrong with the (first) call that brought no verdicts, whose documents have `UNKNOWN`.
    Documents of the same case that another call or the store decided keep their verdicts.
    `attempts` counts calls, 0 where all came from the store; so do the tokens. `cut_texts` counts
    the texts of the case that the judge does not see whole, wherever the verdicts came from.
    """

    state: State
    verdicts: tuple[Verdict, ...]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0
    cut_texts: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What judging a case would take at most once: calls without retries, tokens in and out."""

    calls: int
    prompt_tokens: int
    completion_tokens: int


class Named(Protocol):
    """What tables, stores and budgets know of a judge or a writer."""

    @property
    def label(self) -> str:
        """Names it in tables and in the provenance of what it says."""

    @property
    def key(self) -> str:
        """Digest of the model, the instructions and all settings that decide a reply."""

    @property
    def price(self) -> Price:
        """What its tokens cost."""


class Judge(Named, Protocol):
    """Answers cases of any number of documents.

    Equal keys promise that a verdict may stand in for another of the same query, truths and
    document: the key is a digest of the model, the prompt's version and all settings that decide.
    """

    @property
    def stopped(self) -> str | None:
        """Why the last `judge` ended before its cases did (a budget is spent); None: it did not."""

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Judgement]]:
        """Each case with its judgement, as they finish; cases are drawn as they are needed.

        A judge that has `stopped` yields what was under way and leaves out the rest. Raises
        PyriteError if it cannot work at all.
        """

    def estimate(self, case: Case) -> Estimate:
        """What the case would take, without asking anything."""


def unknown(case: Case) -> tuple[Verdict, ...]:
    """No verdict for any document of the case."""
    return (UNKNOWN,) * len(case.documents)

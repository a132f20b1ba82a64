"""Counts of one stage of a cascade."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .case import Judgement
from .price import Price
from .ruling import Ruling


@dataclass(slots=True)
class StageTally:
    """Pairs that a stage saw and what became of them; calls, tokens and what they cost.

    `unknown` counts the pairs that stay without a verdict, by the reason; `silent` those that the
    stage could not decide, also where the next one can. `stored`: cases that took no call;
    `cut_texts`: texts that were too long to be shown whole, once for each case they stand in.
    """

    label: str
    price: Price
    seen: int = 0
    cases: int = 0
    stored: int = 0
    cut_texts: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    rulings: Counter[Ruling] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)

    def add_call(self, judgement: Judgement) -> None:
        """Count what a case took."""
        self.cases += 1
        # a call without a reply is no attempt either
        self.stored += judgement.attempts == 0 and judgement.state == "ok"
        self.cut_texts += judgement.cut_texts
        self.calls += judgement.attempts
        self.prompt_tokens += judgement.prompt_tokens
        self.completion_tokens += judgement.completion_tokens

    def add_rulings(self, rulings: Iterable[Ruling]) -> None:
        """Count what became of a row's pairs."""
        found = list(rulings)
        self.seen += len(found)
        self.rulings.update(found)

    @property
    def cost(self) -> float:
        return self.price.cost(self.prompt_tokens, self.completion_tokens)

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; the four rulings add up to `seen`."""
        names: tuple[Ruling, ...] = ("clean", "false_negative", "forwarded", "unknown")
        return {
            "stage": self.label,
            "seen": self.seen,
            **{name: self.rulings[name] for name in names},
            "unknown_by_state": dict(sorted(self.unknown.items())),
            "silent_by_state": dict(sorted(self.silent.items())),
            "cut_texts": self.cut_texts,
            **self.spent(),
        }

    def spent(self) -> dict[str, Any]:
        """What this run paid for: nothing of it is the same in a run that finds it stored."""
        return {
            "cases": self.cases,
            "stored": self.stored,
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": self.cost,
        }

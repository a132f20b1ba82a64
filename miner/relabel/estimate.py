"""What a cascade would take: calls, tokens and money by stage, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..training_row import TrainingRow
from .cascade import Stage
from .case import Case, Estimate
from .judges.duplicates import DuplicatesJudge


@dataclass(slots=True)
class StageEstimate:
    """Expected numbers, so they need not be whole; what is stored already costs nothing."""

    label: str
    pairs: float = 0.0
    calls: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    cost: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The numbers by name."""
        names = ("pairs", "calls", "prompt_tokens", "completion_tokens", "cost")
        return {"stage": self.label, **{name: getattr(self, name) for name in names}}


def estimate(
    rows: Iterable[TrainingRow], stages: Sequence[Stage], expect: Sequence[float], double: float
) -> list[StageEstimate]:
    """What each stage would take if `expect` [stages] of its pairs go on.

    Copies of positives are found in earnest, since that is free; `double` is the share of rows that
    every stage sees. Retries are not in it.
    """
    found = [StageEstimate(stage.judge.label) for stage in stages]
    for row in rows:
        case = _whole(row)
        share = 1.0
        for number, (stage, total) in enumerate(zip(stages, found, strict=True)):
            if case is None or not case.documents:
                break
            if isinstance(stage.judge, DuplicatesJudge):
                total.pairs += share * len(case.documents)
                if number + 1 < len(stages):
                    case = _undecided(stage.judge, case)
                continue
            twice = 1.0 + (double if stage.twin is not None else 0.0)
            _add(total, stage, stage.judge.estimate(case), case, share * twice)
            share *= double + (1.0 - double) * expect[number]
    return found


def _whole(row: TrainingRow) -> Case | None:
    truths = tuple(doc for doc in row.positives if doc.known)
    documents = tuple(doc for doc in row.negatives if doc.known)
    return Case(str(row.line), row.query, truths, documents) if truths and row.known else None


def _undecided(judge: DuplicatesJudge, case: Case) -> Case:
    (_, judgement), *_ = judge.judge([case])
    pairs = zip(case.documents, judgement.verdicts, strict=True)
    left = tuple(doc for doc, verdict in pairs if verdict.relevant is None)
    return Case(case.row, case.query, case.truths, left)


def _add(total: StageEstimate, stage: Stage, one: Estimate, case: Case, share: float) -> None:
    total.pairs += share * len(case.documents)
    total.calls += share * one.calls
    total.prompt_tokens += share * one.prompt_tokens
    total.completion_tokens += share * one.completion_tokens
    total.cost += share * stage.judge.price.cost(one.prompt_tokens, one.completion_tokens)

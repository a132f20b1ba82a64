"""How many negatives of a file are false: a random sample of its pairs, judged one by one.

What a full pass would find, for the price of some hundred calls. The interval is that of Wilson,
"Probable inference, the law of succession, and statistical inference", 1927: it holds for shares
near 0 too.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ...core.errors import PyriteError
from ...core.rng import combine, stream
from ..training_row import TrainingRow
from .build import built
from .case import Case, Judge
from .config import RelabelConfig
from .ruling import Counted, is_false_negative, reason

_PURPOSE = 43
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of false negatives among `decided` of a random sample of `pairs`.

    `unknown` are sampled pairs without a verdict, by the reason: they are in no share. `share` and
    `ci95` are None where nothing was decided.
    """

    judge: str
    pairs: int
    sampled: int
    false: int
    unknown: dict[str, int]

    @property
    def decided(self) -> int:
        return self.sampled - sum(self.unknown.values())

    @property
    def share(self) -> float | None:
        return self.false / self.decided if self.decided else None

    @property
    def ci95(self) -> tuple[float, float] | None:
        return wilson(self.false, self.decided) if self.decided else None

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        names = ("judge", "pairs", "sampled", "decided", "false", "unknown", "share", "ci95")
        return {name: getattr(self, name) for name in names}

    def sentence(self) -> str:
        """What a person learns from it."""
        lost = sum(self.unknown.values())
        without = f"; {lost:,} without a verdict are in no share" if lost else ""
        if self.ci95 is None or self.share is None:
            return f"{self.judge}: no verdict on any of {self.sampled:,} sampled negatives"
        low, high = self.ci95
        return (
            f"{self.judge}: {self.false:,} of {self.decided:,} sampled negatives are false,"
            f" {self.share:.1%} [{low:.1%}, {high:.1%}], so about {self.share * self.pairs:,.0f} of"
            f" {self.pairs:,}{without}"
        )


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share, within [0, 1]; `trials` is at least 1."""
    found = stats.binomtest(successes, trials).proportion_ci(_CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def false_negative_rate(
    rows: Iterable[TrainingRow], config: RelabelConfig, sample: int, judge: Judge | None = None
) -> Rate:
    """Judge `sample` random negatives by the last stage of `config`, the one that is trusted most.

    `judge` stands in its place. The rows are read once and in no memory but the sample's; the same
    seed samples the same pairs. Raises PyriteError if there is no pair to judge, or if the budget
    ends before the sample does.
    """
    pairs, cases = sample_pairs(rows, sample, config.seed)
    if not cases:
        raise PyriteError(
            f"{config.data.path}: no negative with a text beside a positive, so there is nothing to"
            " judge; name a file with both"
        )
    last = config.model_copy(update={"stages": config.stages[-1:]})
    with built(last, None if judge is None else [judge]) as (stages, _):
        return _rate(stages[0].judge, cases, pairs, config.counted)


def _rate(judge: Judge, cases: list[Case], pairs: int, counted: Counted) -> Rate:
    false, unknown, seen = 0, Counter[str](), 0
    for _, judgement in judge.judge(cases):
        seen += 1
        verdict = judgement.verdicts[0]
        found = is_false_negative(verdict, counted)
        if found is None:
            unknown[reason(verdict, judgement)] += 1
        else:
            false += found
    if judge.stopped is not None or seen < len(cases):
        raise PyriteError(
            f"stopped at {judge.stopped}: {seen:,} of {len(cases):,} sampled pairs are judged;"
            " raise the limit and run the same command again, what is judged is stored"
        )
    return Rate(judge.label, pairs, seen, false, dict(sorted(unknown.items())))


def sample_pairs(rows: Iterable[TrainingRow], count: int, seed: int = 0) -> tuple[int, list[Case]]:
    """How many pairs of a row's positives with one negative there are, and `count` of them.

    The sample is uniform without repeats, those with the smallest hashes of row and place; all if
    there are no more. Pairs without texts are left out.
    """
    root = stream(seed, 0, _PURPOSE)
    # the greatest hash is first: what a smaller one takes the place of
    kept: list[tuple[int, int, int, Case]] = []
    pairs = 0
    for number, row in enumerate(rows):
        truths = tuple(doc for doc in row.positives if doc.known)
        places = np.array([at for at, doc in enumerate(row.negatives) if doc.known], dtype=np.int64)
        if not truths or not row.known or not places.size:
            continue
        pairs += places.size
        hashes = combine(combine(root, np.asarray(number, dtype=np.uint64)), places)
        for at, key in zip(places.tolist(), hashes.tolist(), strict=True):
            if len(kept) == count and key >= -kept[0][0]:
                continue
            name = f"line {row.line}, negative {at + 1}"
            case = Case(name, row.query, truths, (row.negatives[at],))
            push = heapq.heappush if len(kept) < count else heapq.heapreplace
            push(kept, (-key, number, at, case))
    return pairs, [case for *_, case in sorted(kept, key=lambda k: k[1:3])]

"""The cascade: stages in order, each sees only what the ones before left undecided.

RLHN (arXiv 2505.16967), section 3, made strict: no reply that cannot be read means "clean", and
every pair ends in exactly one state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ...core.digest import u64
from ...core.rng import combine, stream, uniform
from ..training_row import TrainingRow
from .agreement import Agreement
from .case import UNKNOWN, Case, Judge, Judgement, Verdict
from .ruling import Counted, Forward, is_false_negative, reason, rulings
from .stage_tally import StageTally
from .verdict_store import pair_keys

PairState = Literal["clean", "false_negative", "unknown"]
_PURPOSE = 41


@dataclass(frozen=True, slots=True)
class Stage:
    """A judge and what it passes on; the last stage of a cascade passes on nothing.

    `compared`: whether its verdicts are those of a model, which another's may be compared with.
    `twin` is the same judge that reads documents in another order.
    """

    judge: Judge
    forward: Forward = "relevant"
    compared: bool = True
    twin: Judge | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pair ended: by which stage, from 0 (-1: none saw it), with what verdict.

    `why` is the reason of `unknown`: a state of `Judgement`, `abstained`, or `no_positives`,
    `no_text` where no judge was asked.
    """

    state: PairState
    stage: int
    verdict: Verdict = UNKNOWN
    why: str = ""


class StoppedError(Exception):
    """A judge's budget is spent; what it was told so far is stored."""


@dataclass(slots=True)
class Cascade:
    """Stages with their counts. `double` is the share of rows that every stage sees in full.

    `agreements`: by number of a stage, its verdicts on those rows beside those of the stage before.
    `human` has labels by query and document id, 1 for a false negative, `people` verdicts by pair,
    which decide whatever the stages say (`by_people` counts them); `against_human` compares each
    stage, and last what all would have decided, with both; `orders` each stage with its twin on the
    double rows. Nothing here grows with the number of rows.
    """

    stages: Sequence[Stage]
    counted: Counted = "better_or_equal"
    double: float = 0.0
    seed: int = 0
    human: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    people: Mapping[str, Verdict] = field(default_factory=dict)
    tallies: list[StageTally] = field(init=False)
    agreements: dict[int, Agreement] = field(init=False)
    against_human: list[Agreement] = field(init=False)
    orders: dict[int, Agreement] = field(init=False)
    states: Counter[str] = field(default_factory=Counter)
    by_people: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.tallies = [StageTally(s.judge.label, s.judge.price) for s in self.stages]
        labels = [stage.judge.label for stage in self.stages]
        self.agreements = {
            at: Agreement(labels[at - 1], labels[at])
            for at in range(1, len(self.stages))
            if self.stages[at - 1].compared and self.stages[at].compared
        }
        self.against_human = [Agreement(label, "human") for label in (*labels, "cascade")]
        self.orders = {
            at: Agreement(label, f"{label}, another order")
            for at, label in enumerate(labels)
            if self.stages[at].twin is not None
        }

    def decide(self, rows: Sequence[TrainingRow]) -> list[list[Outcome]]:
        """The outcome of each negative of each row, in order.

        Raises StoppedError if a judge stopped before its cases did.
        """
        found = [[_unasked(row, at) for at in range(len(row.negatives))] for row in rows]
        pending = [[at for at, o in enumerate(row) if not o.why] for row in found]
        sampled = [self._sampled(row) for row in rows]
        said = [self._said(row) for row in rows]
        labels = [self._labels(row, verdicts) for row, verdicts in zip(rows, said, strict=True)]
        for number in range(len(self.stages)):
            judged = self._ask(self.stages[number].judge, number, rows, pending)
            self._turn(number, rows, pending, sampled, judged)
            for at, judgement in enumerate(judged):
                if judgement is None:
                    continue
                self._check(number, labels[at], pending[at], judgement.verdicts)
                left = self._settle(number, judgement, pending[at], found[at], sampled[at])
                pending[at] = left
        for at, outcomes in enumerate(found):
            self._check(-1, labels[at], range(len(outcomes)), [o.verdict for o in outcomes])
            self._overrule(outcomes, said[at])
            self.states.update(f"unknown:{o.why}" if o.why else o.state for o in outcomes)
        return found

    def _turn(
        self,
        number: int,
        rows: Sequence[TrainingRow],
        pending: Sequence[Sequence[int]],
        sampled: Sequence[bool],
        judged: Sequence[Judgement | None],
    ) -> None:
        """Ask the twin about the sampled rows; its verdicts decide nothing."""
        twin = self.stages[number].twin
        if twin is None:
            return
        places = [p if wanted else [] for p, wanted in zip(pending, sampled, strict=True)]
        for one, other in zip(judged, self._ask(twin, number, rows, places), strict=True):
            if one is not None and other is not None:
                for left, right in zip(one.verdicts, other.verdicts, strict=True):
                    if left.by_person or right.by_person:
                        continue
                    flags = (is_false_negative(v, self.counted) for v in (left, right))
                    self.orders[number].add(*flags)

    def _ask(
        self,
        judge: Judge,
        number: int,
        rows: Sequence[TrainingRow],
        pending: Sequence[Sequence[int]],
    ) -> list[Judgement | None]:
        """The judgement of each row in the order of the rows, whenever it arrived."""
        tally = self.tallies[number]
        judged: list[Judgement | None] = [None] * len(rows)
        places_of = {_name(row, at): at for at, row in enumerate(rows)}
        for case, judgement in judge.judge(_cases(rows, pending)):
            judged[places_of[case.row]] = judgement
            tally.add_call(judgement)
        if judge.stopped is not None:
            raise StoppedError(judge.stopped)
        for at, places in enumerate(pending):
            if places and judged[at] is None:
                raise ValueError(f"{judge.label} gave no judgement of line {rows[at].line}")
        return judged

    def _settle(
        self,
        number: int,
        judgement: Judgement,
        places: Sequence[int],
        found: list[Outcome],
        sampled: bool,
    ) -> list[int]:
        """Enter a row's verdicts into `found`; returns the places that go on."""
        stage, tally = self.stages[number], self.tallies[number]
        last = number == len(self.stages) - 1
        verdicts = judgement.verdicts
        forward = None if last else stage.forward
        ruled = rulings(verdicts, self.counted, forward, sampled and stage.compared)
        tally.add_rulings(ruled)
        if sampled and number:
            self._compare(number, verdicts, [found[at] for at in places])
        left = []
        for at, verdict, ruling in zip(places, verdicts, ruled, strict=True):
            why = reason(verdict, judgement) if verdict.relevant is None else ""
            if why:
                tally.silent[why] += 1
            if ruling == "forwarded":
                # what this stage said is kept for the comparison with the next
                found[at] = Outcome("unknown", number, verdict)
                left.append(at)
            else:
                if ruling == "unknown":
                    tally.unknown[why] += 1
                found[at] = Outcome(ruling, number, verdict, why)
        return left

    def _compare(self, number: int, verdicts: Sequence[Verdict], before: Sequence[Outcome]) -> None:
        table = self.agreements.get(number)
        if table is None:
            return
        for earlier, now in zip(before, verdicts, strict=True):
            if earlier.stage != number - 1 or earlier.verdict.by_person or now.by_person:
                continue
            left = is_false_negative(earlier.verdict, self.counted)
            table.add(left, is_false_negative(now, self.counted))

    def _said(self, row: TrainingRow) -> dict[int, Verdict]:
        """What people said about the row's negatives, by place."""
        if not self.people:
            return {}
        places = [at for at in range(len(row.negatives)) if not _unasked(row, at).why]
        keys = pair_keys(_case(row, places))
        return {a: self.people[k] for a, k in zip(places, keys, strict=True) if k in self.people}

    def _labels(self, row: TrainingRow, said: Mapping[int, Verdict]) -> dict[int, bool]:
        """A person's word on the row's negatives by place; labels of the file come first."""
        labels = {at: v.relevant for at, v in said.items() if v.relevant is not None}
        if self.human and row.query_id is not None:
            for at, doc in enumerate(row.negatives):
                label = self.human.get((row.query_id, doc.id or ""))
                if label is not None:
                    labels[at] = label
        return labels

    def _overrule(self, outcomes: list[Outcome], said: Mapping[int, Verdict]) -> None:
        for at, verdict in said.items():
            if verdict.relevant is None:
                self.by_people["disagree"] += 1
            else:
                self.by_people["decided"] += 1
                outcomes[at] = Outcome(
                    "false_negative" if verdict.relevant else "clean", -1, verdict
                )

    def _check(
        self,
        number: int,
        labels: Mapping[int, bool],
        places: Iterable[int],
        verdicts: Sequence[Verdict],
    ) -> None:
        """Compare verdicts with a person's, where there are both."""
        for at, verdict in zip(places, verdicts, strict=True):
            if at in labels and not verdict.by_person:
                flag = is_false_negative(verdict, self.counted)
                self.against_human[number].add(flag, labels[at])

    def _sampled(self, row: TrainingRow) -> bool:
        if not self.double:
            return False
        name = np.asarray(u64(f"{row.line}\0{row.query}"), dtype=np.uint64)
        return bool(uniform(combine(stream(self.seed, 0, _PURPOSE), name)) < self.double)


def _unasked(row: TrainingRow, at: int) -> Outcome:
    if not row.known or not row.negatives[at].known:
        return Outcome("unknown", -1, why="no_text")
    if not any(doc.known for doc in row.positives):
        return Outcome("unknown", -1, why="no_positives")
    return Outcome("unknown", -1)


def _cases(rows: Sequence[TrainingRow], pending: Sequence[Sequence[int]]) -> Iterator[Case]:
    """The undecided pairs of each row."""
    for at, (row, places) in enumerate(zip(rows, pending, strict=True)):
        if places:
            yield _case(row, places, _name(row, at))


def _case(row: TrainingRow, places: Iterable[int], name: str = "") -> Case:
    truths = tuple(doc for doc in row.positives if doc.known)
    return Case(name, row.query, truths, tuple(row.negatives[at] for at in places))


def _name(row: TrainingRow, at: int) -> str:
    """Several rows may stand in one line."""
    return f"line {row.line}, row {at} of the block"

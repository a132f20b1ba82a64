"""A judge that asks only what the store does not know, and keeps every reply at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from ..budget import Budget
from ..case import UNKNOWN, Case, Estimate, Judgement, State, Verdict
from ..price import Price
from ..verdict_store import VerdictStore, pair_keys
from .answerer import Answerer, BudgetSpent

_AHEAD = 2  # parts drawn for each call under way, so that none waits for the reader of rows


@dataclass(slots=True)
class _Open:
    """A case whose parts are under way; `verdicts` by pair, as far as they are known."""

    case: Case
    keys: list[str]
    verdicts: dict[str, Verdict]
    cut_texts: int = 0
    left: int = 0
    undone: bool = False
    states: list[State] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0

    def add(self, part: Case, judgement: Judgement | None) -> None:
        self.left -= 1
        if judgement is None:
            self.undone = True
            return
        if judgement.state == "ok":
            self.verdicts.update(zip(pair_keys(part), judgement.verdicts, strict=True))
        else:
            self.states.append(judgement.state)
        self.prompt_tokens += judgement.prompt_tokens
        self.completion_tokens += judgement.completion_tokens
        self.attempts += judgement.attempts

    def judgement(self) -> Judgement:
        return Judgement(
            self.states[0] if self.states else "ok",
            tuple(self.verdicts.get(key, UNKNOWN) for key in self.keys),
            self.prompt_tokens,
            self.completion_tokens,
            self.attempts,
            self.cut_texts,
        )


_Done = Future[tuple[_Open, Case, Judgement | None]]


class StoredJudge:
    """A `Judge` around an `Answerer`: looks up, splits, asks in threads, keeps, merges.

    Each reply is in the store before its thread does anything else, so a kill loses the calls
    under way and no more. A pair is never paid for twice, not even if it stands in two cases. Where
    the store has no verdict and `people` (by pair) decided, theirs stands in and nothing is asked.
    Memory: the cases under way, and those that share a pair with one of them.
    """

    def __init__(
        self,
        answerer: Answerer,
        store: VerdictStore,
        budget: Budget,
        people: Mapping[str, Verdict] | None = None,
    ) -> None:
        self._answerer = answerer
        self._people = people or {}
        self._key = answerer.key
        self._store = store
        self._budget = budget
        self._stopped: str | None = None

    @property
    def label(self) -> str:
        return self._answerer.label

    @property
    def key(self) -> str:
        return self._key

    @property
    def price(self) -> Price:
        return self._answerer.price

    @property
    def stopped(self) -> str | None:
        return self._stopped

    def judge(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Judgement]]:
        self._stopped = None
        later: list[Case] = []
        yield from self._round(cases, later)
        while later and self._stopped is None:
            again, later = later, []
            yield from self._round(again, later)

    def estimate(self, case: Case) -> Estimate:
        """What the documents that the store does not know would take."""
        asked = self._lookup(case)
        found = [self._answerer.estimate(part) for part in self._parts(asked)]
        return Estimate(
            sum(one.calls for one in found),
            sum(one.prompt_tokens for one in found),
            sum(one.completion_tokens for one in found),
        )

    def _round(self, cases: Iterable[Case], later: list[Case]) -> Iterator[tuple[Case, Judgement]]:
        """The cases that share no pair with one under way; the others are put into `later`."""
        stop = threading.Event()
        done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        busy: set[str] = set()
        pending = 0
        with ThreadPoolExecutor(self._answerer.concurrency) as pool:
            try:
                for case in cases:
                    opened = self._lookup(case)
                    missing = [key for key in opened.keys if key not in opened.verdicts]
                    if not missing:
                        yield case, opened.judgement()
                        continue
                    if not busy.isdisjoint(missing):
                        later.append(case)
                        continue
                    busy.update(missing)
                    for part in self._parts(opened):
                        opened.left += 1
                        pool.submit(self._ask, opened, part, stop).add_done_callback(done.put)
                        pending += 1
                    while pending >= _AHEAD * self._answerer.concurrency:
                        pending -= 1
                        yield from self._land(done.get(), busy)
                    if self._stopped is not None or stop.is_set():
                        break
                for _ in range(pending):
                    yield from self._land(done.get(), busy)
            except BaseException:
                stop.set()
                raise

    def _land(self, future: _Done, busy: set[str]) -> Iterator[tuple[Case, Judgement]]:
        try:
            opened, part, judgement = future.result()
        except CancelledError:
            return  # the call that failed, and so stopped this one, comes later
        busy.difference_update(pair_keys(part))
        opened.add(part, judgement)
        if judgement is None:
            self._stopped = self._budget.stopped
        if not opened.left and not opened.undone:
            yield opened.case, opened.judgement()

    def _ask(
        self, opened: _Open, part: Case, stop: threading.Event
    ) -> tuple[_Open, Case, Judgement | None]:
        if stop.is_set():
            raise CancelledError
        replies = []
        try:
            for reply in self._answerer.answers(part, stop):
                cost = self.price.cost(reply.prompt_tokens, reply.completion_tokens)
                self._store.put(self._key, part, reply, cost)
                replies.append(reply)
        except BudgetSpent:
            return opened, part, None
        except BaseException:
            stop.set()
            raise
        return opened, part, _summed(replies)

    def _lookup(self, case: Case) -> _Open:
        keys = pair_keys(case)
        found = self._store.get(self._key, case)
        known = {k: verdict for k, verdict in zip(keys, found, strict=True) if verdict is not None}
        for key in keys:
            said = self._people.get(key)
            if key not in known and said is not None and said.relevant is not None:
                known[key] = said
        return _Open(case, keys, known, self._answerer.cut_texts(case))

    def _parts(self, opened: _Open) -> list[Case]:
        """The documents without a verdict, each text once, cut into calls."""
        first = {key: i for i, key in reversed(list(enumerate(opened.keys)))}
        missing = [i for key, i in first.items() if key not in opened.verdicts]
        docs = tuple(opened.case.documents[i] for i in sorted(missing))
        return self._answerer.parts(replace(opened.case, documents=docs)) if docs else []


def _summed(replies: list[Judgement]) -> Judgement:
    """The last reply, and what all of them took."""
    return replace(
        replies[-1],
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.completion_tokens for reply in replies),
        attempts=sum(reply.attempts for reply in replies),
    )

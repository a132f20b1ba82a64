"""Has texts written: looks up what was paid for, asks for the rest in threads, keeps it at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from ..relabel.budget import Budget
from ..relabel.cascade import StoppedError
from ..relabel.case import Estimate
from ..relabel.judges.answerer import BudgetSpent
from .asked import Asked
from .text_store import TextStore, question_key
from .writer import Writer, Written


@dataclass(slots=True)
class Writing:
    """A writer with its store; without a store nothing is kept and everything asked.

    Each reply is in the store before its thread does anything else, so a kill loses the calls under
    way and no more. A question is never paid for twice, not even if two anchors ask it.
    """

    writer: Writer
    store: TextStore | None
    budget: Budget
    stored: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, asked: Sequence[Asked]) -> list[Written]:
        """The reply for each anchor, in their order.

        Raises StoppedError if the budget ended before: what was under way is kept.
        """
        keys = [question_key(self.writer.question(one)) for one in asked]
        found = {key: Written("ok", texts) for key, texts in self._known(keys).items()}
        missing = {key: one for key, one in zip(keys, asked, strict=True) if key not in found}
        self.stored += len(asked) - len(missing)
        found.update(self._ask_all(missing))
        if len(found) < len(set(keys)):
            raise StoppedError(self.budget.stopped or "")
        return [found[key] for key in keys]

    def estimate(self, asked: Asked) -> tuple[Estimate, tuple[str, ...] | None]:
        """What the anchor would take, and its texts if they are there already."""
        key = question_key(self.writer.question(asked))
        known = self._known([key]).get(key)
        return (self.writer.estimate(asked) if known is None else Estimate(0, 0, 0)), known

    def spent(self) -> dict[str, Any]:
        """What this run paid for."""
        names = ("stored", "calls", "prompt_tokens", "completion_tokens", "cost")
        return {"stage": self.writer.label, **{name: getattr(self, name) for name in names}}

    def _known(self, keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return self.store.get(self.writer.key, keys) if self.store is not None else {}

    def _ask_all(self, missing: dict[str, Asked]) -> dict[str, Written]:
        """The replies that came, by key; fewer than asked for if the budget ended."""
        if not missing:
            return {}
        stop, found = threading.Event(), {}
        with ThreadPoolExecutor(self.writer.concurrency) as pool:
            try:
                futures = {
                    pool.submit(self._ask, key, one, stop): key for key, one in missing.items()
                }
                for future in as_completed(futures):
                    try:
                        written = future.result()
                    except CancelledError:
                        continue  # the call that failed, and so stopped this one, comes later
                    if written is not None:
                        found[futures[future]] = written
            except BaseException:
                stop.set()
                raise
        return found

    def _ask(self, key: str, asked: Asked, stop: threading.Event) -> Written | None:
        """The last reply, None if there was no money for one."""
        if stop.is_set():
            raise CancelledError
        try:
            for reply in self.writer.replies(asked, stop):
                self._keep(key, reply)
        except BudgetSpent:
            return None
        except BaseException:
            stop.set()
            raise
        return reply

    def _keep(self, key: str, reply: Written) -> None:
        cost = self.writer.price.cost(reply.prompt_tokens, reply.completion_tokens)
        if self.store is not None:
            self.store.put(self.writer.key, key, reply, cost)
        with self._lock:
            self.calls += reply.attempts
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
            self.cost += cost

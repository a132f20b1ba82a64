"""How much may be spent: room is reserved before a call and settled after it."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls that brought a reply, and what they cost."""

    calls: int = 0
    cost: float = 0.0


class Budget:
    """At most `max_cost` and `max_calls` over all judges and threads that share it.

    A call that does not fit waits until those under way have told what they really took; if it
    does not fit then either, the budget is spent for good. What a call takes is estimated before
    it, by the largest share by which an estimate has been too low so far.
    """

    def __init__(
        self,
        max_cost: float | None = None,
        max_calls: int | None = None,
        spent: Spent | None = None,
    ) -> None:
        """`spent` is what earlier runs have used of this budget."""
        self._max_cost = max_cost
        self._max_calls = max_calls
        self._spent = spent or Spent()
        self._reserved_cost = 0.0
        self._under_way = 0
        self._too_low = 1.0
        self._stopped: str | None = None
        self._changed = threading.Condition()

    @property
    def spent(self) -> Spent:
        """What has been settled."""
        with self._changed:
            return self._spent

    @property
    def stopped(self) -> str | None:
        """Which limit has been reached; None: none so far."""
        with self._changed:
            return self._stopped

    def reserve(self, estimate: float) -> float | None:
        """Room for a call that costs about `estimate`: what to give back to `settle`, or None.

        Waits while the calls under way may still leave room.
        """
        with self._changed:
            while self._stopped is None:
                held = estimate * self._too_low
                full = self._full(held)
                if full is None:
                    self._reserved_cost += held
                    self._under_way += 1
                    return held
                if not self._under_way:
                    self._stopped = full
                    self._changed.notify_all()
                else:
                    self._changed.wait()
            return None

    def settle(self, held: float, estimate: float, cost: float | None) -> None:
        """End a call that had `held` reserved and took `cost`, None if nothing came back."""
        with self._changed:
            self._reserved_cost -= held
            self._under_way -= 1
            if not self._under_way:
                self._reserved_cost = 0.0  # no rounding left over from sums
            if cost is not None:
                self._spent = Spent(self._spent.calls + 1, self._spent.cost + cost)
                if estimate > 0:
                    self._too_low = max(self._too_low, cost / estimate)
            self._changed.notify_all()

    def _full(self, held: float) -> str | None:
        calls = self._spent.calls + self._under_way
        if self._max_calls is not None and calls + 1 > self._max_calls:
            return f"max_calls={self._max_calls}"
        cost = self._spent.cost + self._reserved_cost
        if self._max_cost is not None and cost + held > self._max_cost:
            return f"max_cost={self._max_cost:g}"
        return None

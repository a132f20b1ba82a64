"""What the trainer writes down about refreshes, once however often it is killed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from .generations import Generation
from .refresh_home import RefreshHome
from .refresh_log import RefreshLog

logger = logging.getLogger(__name__)


class Journal:
    """Rows of `refresh/log.jsonl` for a training that goes on after `step`."""

    def __init__(self, home: RefreshHome, step: int) -> None:
        self._log = RefreshLog(home.folder)
        for row in self._log.rewind(step):
            # a swap is written down under the step at which it comes into force
            if row["decided" if "decided" in row else "step"] <= step:
                self._log.append(row)
        self._known = {r["generation"] for r in self._log.rows() if r["kind"] == "generation"}
        self._stalled = 0.0
        self._noted, self._since = step, time.monotonic()

    def published(self, step: int) -> None:
        """Weights of `step` were published."""
        self._log.append({"kind": "published", "step": step})

    def stall(self, step: int, seconds: float) -> None:
        """Training stood still for `seconds` after `step`."""
        self._stalled += seconds
        self._log.append({"kind": "stall", "step": step, "seconds": seconds})

    def trained(self, step: int) -> None:
        """A checkpoint of `step` is about to be whole, or training ends: the seconds until here.

        A resumed training begins there, so what was done twice is counted once.
        """
        if step > self._noted:
            now = time.monotonic()
            self._log.append({"kind": "trained", "step": step, "seconds": now - self._since})
            self._noted, self._since = step, now

    def generations(self, found: Iterable[Generation]) -> None:
        """These generations are there; those that are known already are left out."""
        for generation in found:
            if generation.number in self._known:
                continue
            self._known.add(generation.number)
            data = generation.manifest.data
            row = {"step": generation.step, "generation": generation.number}
            self._log.append({"kind": "generation", **row, "seconds": data["seconds"]})
            if not generation.adopted:
                self._log.append({"kind": "refused", **row, "reasons": data["reasons"]})
                logger.warning("generation %d is refused: %s", generation.number, generation.reason)
            if generation.measured("ndcg") is not None:
                ndcg = generation.measured("ndcg")
                self._log.append({"kind": "dev", "step": generation.step, "ndcg": ndcg})

    def swap(self, generation: Generation, decided: int, since: int) -> dict[str, float]:
        """Write a swap down; what the trainer's own log says of it."""
        churn = (generation.measured("churn") or {}).get("value")
        age, seconds = since - generation.step, generation.manifest.data["seconds"]
        row = {"generation": generation.number, "age": age, "churn": churn}
        self._log.append({"kind": "swap", "step": since, "decided": decided, **row})
        logger.info(
            "step %d: negatives of generation %d from step %d on, %d steps old, churn %s",
            decided,
            generation.number,
            since,
            age,
            "unknown" if churn is None else f"{churn:.3f}",
        )
        found = {**row, "since": since, "stall_seconds": self._stalled, "seconds": seconds}
        return {f"refresh_{name}": value for name, value in found.items() if value is not None}

"""Which blocks are handed out: the one place that a worker and the driver both know."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any


class Ledger:
    """An actor on the driver's node with a reference to each block that is under way."""

    def __init__(self, tries: int) -> None:
        self._tries = tries
        self._blocks: dict[int, list[Any]] = {}
        self._begun: Counter[int] = Counter()
        self._news = asyncio.Condition()

    async def add(self, number: int, block: list[Any]) -> None:
        """Hand out a block; `block` is a list of one reference, which Ray does not resolve."""
        async with self._news:
            self._blocks[number] = block
            self._news.notify_all()

    async def take(self, number: int) -> list[Any]:
        """The reference to a block, once it is there; empty if it was begun too often."""
        async with self._news:
            await self._news.wait_for(lambda: number in self._blocks)
        self._begun[number] += 1
        return [] if self._begun[number] > self._tries else self._blocks[number]

    async def drop(self, number: int) -> None:
        """Forget a block whose result was delivered."""
        self._blocks.pop(number, None)

    async def begun(self) -> dict[int, int]:
        """How often each block was begun."""
        return dict(self._begun)

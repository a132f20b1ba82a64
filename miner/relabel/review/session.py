"""One reviewer's sitting: the pairs, and answers that are in the store before the page goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..case import Judgement
from ..verdict_store import VerdictStore, human_key
from .pair import VERDICTS, Answer, ReviewPair, answer_of


class Session:
    """Serves pairs and takes answers; usable from several threads, and beside other sessions.

    `blind` keeps back what judges said until the pair is answered. `shared`: what someone else
    decides meanwhile need not be read again.
    """

    def __init__(
        self,
        store: VerdictStore,
        reviewer: str,
        pairs: Sequence[ReviewPair],
        blind: bool = False,
        shared: bool = True,
    ) -> None:
        self.reviewer = reviewer
        self.pairs = pairs
        self.blind = blind
        self._store = store
        self._shared = shared
        self._key = human_key(reviewer)
        self._lock = threading.Lock()
        self._given: dict[int, Answer] = {}

    def answer(self, index: int, answer: Answer | None) -> None:
        """Keep the answer to a pair, or forget it (None); it is on the disk when this returns."""
        case = self.pairs[index].case
        with self._lock:
            if answer is None:
                self._store.withdraw(self.reviewer, case)
                self._given.pop(index, None)
            else:
                self._store.put(self._key, case, Judgement("ok", (VERDICTS[answer],)))
                self._given[index] = answer

    def answers(self) -> list[Answer | None]:
        """The reviewer's answer to each pair."""
        said = {p: v for name, p, v in self._store.said_by_people() if name == self.reviewer}
        return [answer_of(said.get(pair.key)) for pair in self.pairs]

    def pair(self, index: int) -> dict[str, Any]:
        """A pair with its answer, and the names of those who decided it meanwhile."""
        pair = self.pairs[index]
        said = self._store.said_of(pair.key)
        own = answer_of(said.pop(self.reviewer, None))
        others = sorted(name for name, verdict in said.items() if verdict.relevant is not None)
        shown = pair.as_json(self.blind and own is None)
        return {**shown, "answer": own, "others": others if self._shared else []}

    def given(self) -> Counter[Answer]:
        """The answers of this sitting."""
        with self._lock:
            return Counter(self._given.values())

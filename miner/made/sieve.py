"""Which made texts may go to the checks at all: rules that need no model.

They are tried in this order, and a text that is dropped counts under the first that drops it.

| rule | drops a text |
|---|---|
| `copy` | equal, once normalised, to the anchor, to a known positive, or to an earlier text |
| `near_copy` | kind=passages: whose set of words is nearly that of one of these (Jaccard 0.8) |
| `in_dataset` | equal to a text of the dataset, held-out ones included |
| `too_short`, `too_long` | with fewer or more words than the band allows |
| `not_one_slot` | kind=queries with `one_slot`: that edits more than one place of a known query |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...core.digest import u64
from ...core.ids import I64
from ...core.rng import U64
from ...core.tables import TextTable
from ...core.text import normalise
from ..near_text import Words, near, words_of
from .asked import Asked
from .config import Kind, LengthConfig

RULES = ("copy", "near_copy", "in_dataset", "too_short", "too_long", "not_one_slot")
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Sieve:
    """The rules of a run; `taken` uint64 are the sorted hashes of the dataset's normalised texts.

    `band` are the fewest and the most words.
    """

    kind: Kind
    taken: U64
    band: tuple[int, int]
    one_slot: int | None = None

    def sift(
        self, asked: Asked, texts: Sequence[str]
    ) -> tuple[list[tuple[int, str]], Counter[str]]:
        """The texts that stay with their numbers from 1, and how many each rule dropped."""
        seen = {normalise(text) for text in (asked.text, *asked.known)}
        words = [words_of(text) for text in seen] if self.kind == "passages" else []
        kept: list[tuple[int, str]] = []
        dropped: Counter[str] = Counter()
        for number, text in enumerate(texts, 1):
            rule = self._rule(asked, text, seen, words)
            if rule is not None:
                dropped[rule] += 1
                continue
            kept.append((number, text))
            seen.add(normalise(text))
            if self.kind == "passages":
                words.append(words_of(text))
        return kept, dropped

    def _rule(self, asked: Asked, text: str, seen: set[str], words: list[Words]) -> str | None:
        """The first rule that drops a text."""
        normal, mine, count = normalise(text), words_of(text), len(text.split())
        holds: dict[str, Callable[[], bool]] = {
            "copy": lambda: normal in seen,
            "near_copy": lambda: any(near(mine, other) for other in words),
            "in_dataset": lambda: self._in_dataset(normal),
            "too_short": lambda: count < self.band[0],
            "too_long": lambda: count > self.band[1],
            "not_one_slot": lambda: not self._in_one_slot(text, asked.known),
        }
        return next((rule for rule in RULES if holds[rule]()), None)

    def _in_one_slot(self, text: str, known: Sequence[str]) -> bool:
        most = self.one_slot
        return most is None or any(differs_in_one_slot(text, other, most) for other in known)

    def _in_dataset(self, normal: str) -> bool:
        value = np.uint64(u64(normal))
        at = int(np.searchsorted(self.taken, value))
        return at < self.taken.size and bool(self.taken[at] == value)


def differs_in_one_slot(text: str, other: str, most_words: int) -> bool:
    """Whether one run of words of one is another run in the other, and all else is equal.

    Both runs have 1 to `most_words` words and none in common, or there would be two places.
    """
    left, right = normalise(text).split(), normalise(other).split()
    start = _shared(left, right)
    left, right = left[start:], right[start:]
    end = _shared(left[::-1], right[::-1])
    left, right = left[: len(left) - end], right[: len(right) - end]
    sizes = len(left), len(right)
    return min(sizes) >= 1 and max(sizes) <= most_words and not set(left) & set(right)


def _shared(left: Sequence[str], right: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = zip(left, right, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def word_band(table: TextTable, rows: I64, config: LengthConfig) -> tuple[int, int]:
    """The fewest and the most words that a text may have: quantiles of those of the `rows`.

    Both are numbers of words that a real text has: the quantiles are rounded to the outside.
    """
    counts = np.concatenate([np.asarray(c) for c in _counts(table, rows)])
    low = np.quantile(counts, config.low, method="lower")
    high = np.quantile(counts, config.high, method="higher")
    return int(low), int(high)


def _counts(table: TextTable, rows: I64) -> Iterable[list[int]]:
    for start in range(0, rows.size, _BLOCK):
        yield [len(text.split()) for text in table.texts(rows[start : start + _BLOCK])]

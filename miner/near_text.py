"""Near duplicates by the words two texts share: Jaccard index of their sets of words.

The index is exact. It uses the prefix filter of Bayardo, Ma and Srikant, "Scaling up all pairs
similarity search", WWW 2007: two similar sets share one of their rarest words.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from ..core.text import normalise

# as a fraction, so that no rounding decides about a text that lies on the limit
_NUMERATOR, _DENOMINATOR = 4, 5
LIMIT = _NUMERATOR / _DENOMINATOR
_WORD = re.compile(r"\w+")

Words = frozenset[str]


def words_of(text: str) -> Words:
    """The set of words of the normalised text; order and number of times do not count."""
    return words_in(normalise(text))


def words_in(normal: str) -> Words:
    """`words_of` of a text that is normalised already."""
    return frozenset(_WORD.findall(normal))


def may_be_near(words: Words, normal: str) -> bool:
    """False if no text with the normal form `normal` can be near to `words`; costs far less.

    Of two near sets neither lacks over a fifth of the other, and a text's words occur in it.
    """
    spare = len(words) * (_DENOMINATOR - _NUMERATOR) // _DENOMINATOR
    for word in words:
        if word not in normal:
            spare -= 1
            if spare < 0:
                return False
    return True


def near(left: Words, right: Words) -> bool:
    """True if the Jaccard index is at least 0.8; a text without words is near to none."""
    shared = len(left & right)
    union = len(left) + len(right) - shared
    return shared > 0 and _DENOMINATOR * shared >= _NUMERATOR * union


class NearIndex:
    """Finds texts that are near to one of a fixed collection without comparing each pair."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """`texts` maps ids to texts."""
        self._words = {key: words_of(text) for key, text in texts.items()}
        self._count = Counter(word for words in self._words.values() for word in words)
        self._rare: dict[str, list[str]] = defaultdict(list)
        for key, words in self._words.items():
            for word in self._prefix(words):
                self._rare[word].append(key)

    def find(self, text: str) -> str | None:
        """The smallest id whose text is near to `text`, or None."""
        return min(self.all(text), default=None)

    def all(self, text: str) -> list[str]:
        """Every id whose text is near to `text`, in ascending order."""
        words = words_of(text)
        asked = {key for word in self._prefix(words) for key in self._rare.get(word, ())}
        return sorted(key for key in asked if near(words, self._words[key]))

    def _prefix(self, words: Words) -> list[str]:
        least = -(-_NUMERATOR * len(words) // _DENOMINATOR)
        ordered = sorted(words, key=lambda word: (self._count[word], word))
        return ordered[: len(words) - least + 1]

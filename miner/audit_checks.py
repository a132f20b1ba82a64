"""What can be wrong with a training row; every check looks at one row and at the known pairs.

Texts are never kept, only 64-bit hashes, and equal hashes are taken for equal texts: an array with
16 bytes for each (query text, positive) pair while the file is read, half of that afterwards, and
a set with one hash for each row.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..core.digest import u64
from ..core.rng import U64, combine
from ..core.text import normalise
from .contamination import HeldOut
from .formats.format import Sides
from .near_text import may_be_near, near, words_in
from .text_keys import doc_keys, named_keys, text_key
from .training_row import Doc, TrainingRow

Severity = Literal["error", "warning"]


class Check(StrEnum):
    """Everything an audit looks for, errors first."""

    OWN_POSITIVE = "own positive as negative"
    SIBLING_POSITIVE = "sibling's positive as negative"
    QUERY_AS_NEGATIVE = "query as negative"
    EMPTY_TEXT = "empty text"
    NONFINITE_SCORE = "non-finite score"
    NO_NEGATIVES = "no negatives"
    NO_POSITIVES = "no positives"
    UNKNOWN_ID = "unknown id"
    TEST_QUERY = "query of the test split"
    TEST_PAIR = "judged pair of the test split"
    NEAR_TEST_PAIR = "positive of a nearly equal test query"
    DUPLICATE_ID = "id that stands twice"
    CONTRADICTION = "pair judged both ways"
    MANIFEST = "rows without negatives, unlike the manifest"
    NONE_MINED = "no negatives left by the miner"
    DUPLICATE_NEGATIVE = "duplicate negative"
    NEAR_POSITIVE = "negative nearly a positive"
    LONG_TEXT = "long text"
    INVERTED_SCORE = "negative scored above positive"
    SHORT_ROW = "fewer negatives than usual"
    DUPLICATE_ROW = "duplicate row"
    DUPLICATE_TEXT = "text under two ids"
    DUPLICATE_JUDGEMENT = "pair judged twice"

    @property
    def severity(self) -> Severity:
        """Errors teach a model something false; warnings may be meant."""
        return "warning" if self in _WARNINGS else "error"


_WARNINGS = frozenset(
    {
        Check.NONE_MINED,
        Check.DUPLICATE_NEGATIVE,
        Check.NEAR_POSITIVE,
        Check.LONG_TEXT,
        Check.INVERTED_SCORE,
        Check.SHORT_ROW,
        Check.DUPLICATE_ROW,
        Check.DUPLICATE_TEXT,
        Check.DUPLICATE_JUDGEMENT,
    }
)
Part = Literal["row", "query", "positive", "negative"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing wrong: the check, the part of the row, and its position from 0."""

    check: Check
    part: Part
    at: int = 0


@dataclass(frozen=True, slots=True)
class Keys:
    """Hashes that name a row's texts: for each document those of its id and of its text.

    The normal forms of the documents' texts stand beside them.
    """

    query: int
    positives: list[list[int]]
    negatives: list[list[int]]
    positive_texts: list[str]
    negative_texts: list[str]

    @classmethod
    def of(cls, row: TrainingRow) -> Keys:
        """Hash ids, and normalised texts that are not empty."""
        positives, negatives = (
            [normalise(doc.full) for doc in docs] for docs in (row.positives, row.negatives)
        )
        return cls(
            text_key(row.query),
            _keys_of(row.positives, positives),
            _keys_of(row.negatives, negatives),
            positives,
            negatives,
        )

    def row(self) -> int:
        """The same for rows with the same texts, in whatever order their documents stand."""
        groups = (sorted(keys[-1:] for keys in docs) for docs in (self.positives, self.negatives))
        return u64(repr((self.query, *groups)))


def _keys_of(docs: Sequence[Doc], texts: Sequence[str]) -> list[list[int]]:
    return [named_keys(doc.id, text) for doc, text in zip(docs, texts, strict=True)]


@dataclass(frozen=True, slots=True)
class Known:
    """What one reading of the file tells: `pairs_P` uint64 [P] hashes (query, positive), sorted."""

    pairs_P: U64
    usual_negatives: int
    rows: int

    @classmethod
    def gather(cls, rows: Iterable[TrainingRow]) -> Known:
        """Read every row once; `usual_negatives` is the commonest number, of equals the largest."""
        queries, keys = array("Q"), array("Q")
        counts: Counter[int] = Counter()
        for row in rows:
            counts[len(row.negatives)] += 1
            query = text_key(row.query)
            for doc in row.positives:
                found = doc_keys(doc)
                keys.extend(found)
                queries.extend([query] * len(found))
        pairs = combine(np.array(queries, dtype=np.uint64), np.array(keys, dtype=np.uint64))
        usual = max(counts, key=lambda n: (counts[n], n), default=0)
        return cls(np.unique(pairs), usual, counts.total())

    def sibling_positives(self, rows: Sequence[Keys]) -> list[npt.NDArray[np.bool_]]:
        """For each row, which negatives are positives of its query text in some row: bool [n]."""
        docs = [found for row in rows for found in row.negatives]
        counts = np.array([len(row.negatives) for row in rows], dtype=np.int64)
        keys = np.array([len(found) for found in docs], dtype=np.int64)
        queries = np.repeat(np.array([row.query for row in rows], dtype=np.uint64), counts)
        owner = np.repeat(np.arange(len(docs)), keys)
        flat = np.array([key for found in docs for key in found], dtype=np.uint64)
        asked = combine(queries[owner], flat)
        at = np.searchsorted(self.pairs_P, asked)
        inside = at < self.pairs_P.size
        hit = np.zeros(len(docs), dtype=bool)
        hit[owner[inside][self.pairs_P[at[inside]] == asked[inside]]] = True
        return np.split(hit, np.cumsum(counts))[:-1]


class Checker:
    """Checks rows in file order; one checker for each reading, since it remembers rows."""

    def __init__(
        self,
        known: Known,
        max_words: int,
        tests: HeldOut | None,
        sides: Sides = "both",
    ) -> None:
        """`max_words` is the length from which a text is long; `tests` may not be trained on.

        `sides` says which rows of the format are whole without positives or negatives.
        """
        self._sides = sides
        self._known = known
        self._max_words = max_words
        self._tests = tests
        self._seen: set[int] = set()

    def check(self, rows: Sequence[TrainingRow]) -> list[list[Flag]]:
        """For each of some rows all that is wrong with it; an unknown query's is checked no more.

        Call it with all rows of a file in order, some at a time.
        """
        keys = [Keys.of(row) for row in rows]
        siblings = self._known.sibling_positives(keys)
        return [self._check(*found) for found in zip(rows, keys, siblings, strict=True)]

    def _check(self, row: TrainingRow, keys: Keys, siblings: npt.NDArray[np.bool_]) -> list[Flag]:
        if not row.known:
            return [Flag(Check.UNKNOWN_ID, "query")]
        flags = [*self._row(row, keys), *self._texts(row), *_scores(row)]
        return [*flags, *_overlaps(row, keys, siblings), *_copies(keys), *_near_positives(keys)]

    def _row(self, row: TrainingRow, keys: Keys) -> Iterator[Flag]:
        if self._sides != "either":
            yield from self._lengths(row)
        digest = keys.row()
        if digest in self._seen:
            yield Flag(Check.DUPLICATE_ROW, "row")
        self._seen.add(digest)
        if self._tests is not None:
            yield from _leaks(self._tests, row, keys)

    def _lengths(self, row: TrainingRow) -> Iterator[Flag]:
        found = len(row.negatives)
        if not row.positives:
            yield Flag(Check.NO_POSITIVES, "row")
        if not found:
            mined = self._sides == "mined"
            yield Flag(Check.NONE_MINED if mined else Check.NO_NEGATIVES, "row")
        elif found < self._known.usual_negatives:
            yield Flag(Check.SHORT_ROW, "row")

    def _texts(self, row: TrainingRow) -> Iterator[Flag]:
        yield from self._text(row.query, "query", 0)
        for part, at, doc in _docs(row):
            if doc.known:
                yield from self._text(doc.full, part, at)
            else:
                yield Flag(Check.UNKNOWN_ID, part, at)

    def _text(self, text: str, part: Part, at: int) -> Iterator[Flag]:
        if not text or text.isspace():
            yield Flag(Check.EMPTY_TEXT, part, at)
        # so many words are at least as many letters and the spaces between them
        elif len(text) > 2 * self._max_words and len(text.split()) > self._max_words:
            yield Flag(Check.LONG_TEXT, part, at)


def _overlaps(row: TrainingRow, keys: Keys, siblings: npt.NDArray[np.bool_]) -> Iterator[Flag]:
    own = {key for found in keys.positives for key in found}
    asks = bool(row.query.strip())
    for at, found in enumerate(keys.negatives):
        if not own.isdisjoint(found):
            yield Flag(Check.OWN_POSITIVE, "negative", at)
        elif siblings[at] and asks:
            yield Flag(Check.SIBLING_POSITIVE, "negative", at)
        if keys.query in found:
            yield Flag(Check.QUERY_AS_NEGATIVE, "negative", at)


def _leaks(tests: HeldOut, row: TrainingRow, keys: Keys) -> Iterator[Flag]:
    overlap = tests.find(row.query)
    if overlap is None:
        return
    yield Flag(Check.TEST_QUERY, "query")
    for at, found in enumerate(keys.positives):
        if not overlap.exact.isdisjoint(found):
            yield Flag(Check.TEST_PAIR, "positive", at)
        elif not overlap.near.isdisjoint(found):
            yield Flag(Check.NEAR_TEST_PAIR, "positive", at)


def _docs(row: TrainingRow) -> Iterator[tuple[Part, int, Doc]]:
    for at, doc in enumerate(row.positives):
        yield "positive", at, doc
    for at, doc in enumerate(row.negatives):
        yield "negative", at, doc


def _scores(row: TrainingRow) -> Iterator[Flag]:
    finite = [d.score for d in row.positives if d.score is not None and math.isfinite(d.score)]
    lowest = min(finite, default=math.inf)
    for part, at, doc in _docs(row):
        if doc.score is None:
            continue
        if not math.isfinite(doc.score):
            yield Flag(Check.NONFINITE_SCORE, part, at)
        elif part == "negative" and doc.score > lowest:
            yield Flag(Check.INVERTED_SCORE, part, at)


def _copies(keys: Keys) -> Iterator[Flag]:
    seen: set[int] = set()
    for at, found in enumerate(keys.negatives):
        if not seen.isdisjoint(found):
            yield Flag(Check.DUPLICATE_NEGATIVE, "negative", at)
        seen.update(found)


def _near_positives(keys: Keys) -> Iterator[Flag]:
    own = {key for found in keys.positives for key in found}
    positives = [words_in(text) for text in keys.positive_texts]
    for at, text in enumerate(keys.negative_texts):
        # an exact copy is an own positive already
        if own.isdisjoint(keys.negatives[at]):
            likely = [words for words in positives if may_be_near(words, text)]
            if likely and any(near(words_in(text), words) for words in likely):
                yield Flag(Check.NEAR_POSITIVE, "negative", at)

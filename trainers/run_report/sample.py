"""A sampled query as the page shows it: its texts, and a sentence for every document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .part import Table
from .shown import Shown


@dataclass(frozen=True, slots=True)
class Entry:
    """A document and what is said of it."""

    id: str
    text: Shown
    said: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate and what became of it; `outcome` is `drawn`, `kept` or `rejected`."""

    rank: int
    id: str
    text: Shown
    score: str
    source: str
    outcome: str
    why: Sequence[str]


@dataclass(frozen=True, slots=True)
class Card:
    """One sampled query; `rest` counts the candidates that are not shown."""

    query_id: str
    query: Shown
    facts: Sequence[str]
    badges: Sequence[str]
    positives: Sequence[Entry]
    negatives: Sequence[Entry]
    candidates: Sequence[Candidate] = field(default_factory=tuple)
    rest: Table | None = None

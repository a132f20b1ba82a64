"""What people said about pairs: one verdict for each pair, made of all reviewers' answers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from .agreement import Agreement
from .case import Verdict
from .verdict_store import VerdictStore

Said = tuple[str, str, Verdict]


def read_people(path: Path) -> dict[str, Verdict]:
    """By pair, what the people in the store at `path` decided; nothing is made if it is missing."""
    if not path.exists():
        return {}
    with VerdictStore(path) as store:
        return decided(store.said_by_people())


def decided(said: Iterable[Said]) -> dict[str, Verdict]:
    """The majority's verdict on each pair that anyone decided, with the names as its reason.

    As many for as against: `relevant` is None. Who was unsure has no vote.
    """
    votes: dict[str, tuple[list[str], list[str]]] = {}
    for name, pair, verdict in said:
        if verdict.relevant is not None:
            votes.setdefault(pair, ([], []))[verdict.relevant].append(name)
    return {pair: _verdict(against, for_it) for pair, (against, for_it) in votes.items()}


def _verdict(against: list[str], for_it: list[str]) -> Verdict:
    won, lost = (for_it, against) if len(for_it) > len(against) else (against, for_it)
    why = " against ".join(", ".join(sorted(names)) for names in (won, lost) if names)
    if len(won) == len(lost):
        return Verdict(None, why=why, by_person=True)
    relevant = won is for_it
    return Verdict(relevant, None if relevant else "na", why=why, by_person=True)


def between_people(said: Iterable[Said]) -> list[Agreement]:
    """Every two reviewers that decided a pair in common, by name; who was unsure is undecided."""
    answers: dict[str, dict[str, bool | None]] = {}
    for name, pair, verdict in said:
        answers.setdefault(name, {})[pair] = verdict.relevant
    found = []
    for first, second in combinations(sorted(answers), 2):
        table = Agreement(first, second)
        for pair in answers[first].keys() & answers[second].keys():
            table.add(answers[first][pair], answers[second][pair])
        if sum(map(sum, table.table)):
            found.append(table)
    return found

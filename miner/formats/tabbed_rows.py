"""Rows of tab-separated fields: MS MARCO's triples of texts or ids, ANCE's and SimANS's lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import PyriteError
from ...core.tables import TextTable
from ..training_row import Doc, Record, TrainingRow, score_value
from .by_id import IdFormat, IdRow, Named
from .format import Format


class TextTriple(Format):
    """`query<TAB>positive<TAB>negative`, all texts."""

    name = "MS MARCO triples"

    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        query, positive, negative = tabbed_fields(record, 3, where)
        good, bad = Doc(None, "", positive), Doc(None, "", negative)
        return TrainingRow(line, None, query, (good,), (bad,))

    def prune(self, record: Record, keep: Sequence[int]) -> None:
        """None: the row has one negative."""


@dataclass(frozen=True)
class IdTriple(IdFormat):
    """`qid<TAB>pid<TAB>pid,pid`: MS MARCO has one negative there, ANCE many."""

    corpus: TextTable
    queries: TextTable
    name = "MS MARCO id triples"

    def ids(self, record: Record, where: str) -> IdRow:
        query_id, positive, negatives = tabbed_fields(record, 3, where)
        found: list[Named] = [(name.strip(), None) for name in negatives.split(",") if name.strip()]
        return IdRow(query_id, None, [(positive, None)], found)

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        query_id, positive, negatives = record["fields"]
        names = [name for name in negatives.split(",") if name.strip()]
        return {"fields": [query_id, positive, ",".join(names[at] for at in keep)]}


@dataclass(frozen=True)
class Simans(IdFormat):
    """`qid<TAB>query<TAB>pid score,...<TAB>pid score,...`: positives, then negatives."""

    corpus: TextTable
    queries: None = None
    name = "SimANS"

    def ids(self, record: Record, where: str) -> IdRow:
        query_id, query, positives, negatives = tabbed_fields(record, 4, where)
        return IdRow(query_id, query, _scored(positives, where), _scored(negatives, where))

    def prune(self, record: Record, keep: Sequence[int]) -> Record:
        *front, negatives = record["fields"]
        pairs = [pair for pair in negatives.split(",") if pair.strip()]
        return {"fields": [*front, ",".join(pairs[at] for at in keep)]}

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record:
        query_id, query, positives, negatives = record["fields"]
        pairs = [pair for pair in negatives.split(",") if pair.strip()]
        known = [pair for pair in positives.split(",") if pair.strip()]
        good = ",".join([*known, *(pairs[at] for at in places)])
        return {"fields": [query_id, query, good, ",".join(pairs[at] for at in keep)]}


def tabbed_fields(record: Record, count: int, where: str) -> list[str]:
    """The fields of a line; raises PyriteError where there are more or fewer."""
    fields: list[str] = record["fields"]
    if len(fields) != count:
        raise PyriteError(f"{where}: {len(fields)} tab-separated fields, expected {count}")
    return fields


def _scored(field: str, where: str) -> list[Named]:
    found: list[Named] = []
    for pair in field.split(","):
        if not pair.strip():
            continue
        parts = pair.split()
        if len(parts) != 2:
            raise PyriteError(f"{where}: {pair!r} is no pair of id and score with a blank between")
        found.append((parts[0], number(parts[1], where)))
    return found


def number(text: str, where: str) -> float | None:
    """A score, which need not be finite; raises PyriteError for what is no number."""
    try:
        return score_value(float(text), "score", where)
    except ValueError as error:
        raise PyriteError(f"{where}: score {text!r} is not a number; mend the line") from error

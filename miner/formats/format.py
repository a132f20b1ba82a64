"""What every format of training rows can do, and which of its rows are whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from ..training_row import Doc, Record, TrainingRow, as_text, rest, text_field

# `both`: a row has positives and negatives; `mined`: a miner may have found no negative;
# `either`: a row may be one judged pair
Sides = Literal["both", "mined", "either"]


class Format(ABC):
    """How rows stand in the records of a file."""

    name: str
    sides: Sides = "both"

    @abstractmethod
    def parse(self, record: Record, line: int, where: str) -> TrainingRow:
        """The row of a record; raises PyriteError for a field that is missing or malformed."""

    @abstractmethod
    def prune(self, record: Record, keep: Sequence[int]) -> Record | None:
        """A copy with the negatives at `keep` alone; None if the format cannot hold fewer."""

    def promote(self, record: Record, keep: Sequence[int], places: Sequence[int]) -> Record | None:
        """A copy as `prune` makes it whose negatives at `places` are positives, after the others.

        None if a row holds no further positive. Where `judged_outside` they only go: the positives
        are to be named elsewhere.
        """
        return self.prune(record, keep) if self.judged_outside else None

    @property
    def judged_outside(self) -> bool:
        """Whether the positives are judgements that the file does not hold."""
        return False

    def parse_block(self, block: Sequence[tuple[int, Record]], path: Path) -> Iterator[TrainingRow]:
        """The rows of numbered records."""
        for line, record in block:
            yield self.parse(record, line, f"{path}:{line}")


def take(values: list[object], keep: Sequence[int]) -> list[object]:
    """The values at the places `keep`."""
    return [values[at] for at in keep]


def has_length(value: object, length: int) -> bool:
    """True for a list of `length` items: one that stands beside another."""
    return isinstance(value, list) and len(value) == length


def titled(
    passage: Record, where: str, id_: str | None, score: float | None, known: Collection[str] = ()
) -> Doc:
    """A passage object with `text` and perhaps `title`; `known` are its other fields."""
    title = "" if passage.get("title") is None else text_field(passage, "title", where)
    extra = rest(passage, {"title", "text", *known})
    return Doc(id_, title, text_field(passage, "text", where), score, extra=extra)


def optional_text(record: Record, key: str, where: str) -> str | None:
    """A string, or None where the field is missing or null."""
    value = record.get(key)
    return None if value is None else as_text(value, key, where)

"""One row of any training file, and the checks of its fields."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import PyriteError
from ..core.json_lines import whole_text

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Doc:
    """A document of a row; `known` is False where the file names an id that has no text.

    `extra` is what the file says of it besides, by name.
    """

    id: str | None
    title: str
    text: str
    score: float | None = None
    known: bool = True
    extra: Record = field(default_factory=dict, hash=False)

    @property
    def full(self) -> str:
        """Title and text as a model reads them."""
        return f"{self.title} {self.text}".strip()

    @property
    def joined(self) -> str:
        """As `full`, but a text without a title stays as it is written."""
        return self.full if self.title else self.text


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A query with its positives and negatives; `line` counts from 1 (parquet: the row).

    `known` is False where the file names a query id that has no text. `extra` is what the row holds
    besides, by name.
    """

    line: int
    query_id: str | None
    query: str
    positives: tuple[Doc, ...]
    negatives: tuple[Doc, ...]
    known: bool = True
    extra: Record = field(default_factory=dict, hash=False)


def rest(record: Record, known: Collection[str]) -> Record:
    """The fields that a format does not know; a null is nothing."""
    return {key: v for key, v in record.items() if v is not None and key not in known}


def text_field(record: Record, key: str, where: str) -> str:
    """A string without halves of surrogate pairs, or a PyriteError."""
    return as_text(_present(record, key, where, "a string"), key, where)


def as_text(value: Any, key: str, where: str) -> str:
    """`value` if it is a string that UTF-8 can hold, or a PyriteError."""
    if not isinstance(value, str):
        raise PyriteError(f"{where}: field {key!r} is {_kind(value)}; it must be a string")
    return whole_text(value, key, where)


def list_field(record: Record, key: str, where: str) -> list[Any]:
    """A list, or a PyriteError; a string where a list belongs would give one-letter negatives."""
    value = _present(record, key, where, "a list")
    if not isinstance(value, list):
        raise PyriteError(f"{where}: field {key!r} is {_kind(value)}; it must be a list")
    return value


def id_value(value: Any, key: str, where: str) -> str | None:
    """An id as a string; whole numbers are ids too, null is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if value is None else as_text(value, key, where)


def score_value(value: Any, key: str, where: str) -> float | None:
    """A score, which need not be finite; null is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PyriteError(f"{where}: field {key!r} holds {_kind(value)}; scores must be numbers")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def parallel_field(record: Record, key: str, count: int, where: str) -> list[Any]:
    """A list beside another one with `count` items; nulls where the file has none."""
    if record.get(key) is None:
        return [None] * count
    values = list_field(record, key, where)
    if len(values) != count:
        raise PyriteError(f"{where}: field {key!r} has {len(values)} items, expected {count}")
    return values


def _present(record: Record, key: str, where: str, expected: str) -> Any:
    if key not in record:
        raise PyriteError(f"{where}: field {key!r} is missing; it must be {expected}")
    return record[key]


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"

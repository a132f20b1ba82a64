"""What has to be known of all rows before the first is written: one reading more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa

from ...core.errors import PyriteError
from ..formats.target import Shape
from ..training_row import Record, TrainingRow

_BLOCK = 256


def shape_of(
    rows: Iterable[TrainingRow], wanted: int | None, to: str, every: bool = False
) -> Shape:
    """The commonest number of negatives, or the `wanted` one, and whether all are scored.

    With `every` a row is made of each negative, so that none is cut off and none is too few. Only
    documents that are written must have a score. Raises PyriteError if no row has a negative.
    """
    counts: Counter[int] = Counter()
    # numbers of negatives, with the first of them that has no score
    gaps: set[tuple[int, int]] = set()
    for row in rows:
        count = len(row.negatives)
        counts[count] += 1
        docs = (*row.positives, *row.negatives)
        gap = next((at for at, doc in enumerate(docs) if doc.score is None), None)
        if gap is not None:
            gaps.add((count, gap - len(row.positives)))
    del counts[0]
    if not counts:
        raise PyriteError(f"no row has a negative, and --to {to} needs one; name another format")
    if every:
        return Shape(1, not any(count for count, _ in gaps))
    usual = max(counts.items(), key=lambda item: (item[1], item[0]))[0]
    n = usual if wanted is None else wanted
    return Shape(n, not any(count >= n and gap < n for count, gap in gaps))


def schema_of(records: Iterator[Record], first: pa.Schema, to: str) -> pa.Schema:
    """The columns of records that are to stand in parquet, those of `first` at the front.

    Raises PyriteError for a field with values of several types, or one that parquet cannot hold.
    """
    schema = first
    while block := list(islice(records, _BLOCK)):
        names = list(dict.fromkeys(name for record in block for name in record))
        try:
            arrays = [pa.array([record.get(name) for record in block]) for name in names]
            found = pa.schema(
                [(name, array.type) for name, array in zip(names, arrays, strict=True)]
            )
            schema = pa.unify_schemas([schema, found], promote_options="permissive")
        except (pa.ArrowException, OverflowError) as error:
            detail = " ".join(str(error).split())
            raise PyriteError(
                f"--to {to} as parquet: a field has values of several types ({detail}); name a file"
                " of JSON lines"
            ) from error
    return pa.schema([field.with_type(_typed(field.type, field.name)) for field in schema])


def _typed(kind: Any, name: str) -> Any:
    """The type with strings where nothing but nulls was seen; parquet has no empty struct."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_typed(kind.value_type, name))
    if pa.types.is_struct(kind):
        if not kind.num_fields:
            raise PyriteError(
                f"field {name!r} holds an empty object, which parquet cannot; name a file of JSON"
                " lines"
            )
        return pa.struct([(f.name, _typed(f.type, name)) for f in kind])
    return kind

"""Negatives on disk: one parquet row for each query, in ascending query-id order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.candidates import PAD_ID, Negatives
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.store import atomic_write
from ..core.tables import TextTable

FILE = "negatives.parquet"
_ROW_GROUP = 8192
_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        # null: the row stands for all positives of its query
        ("positive_id", pa.string()),
        ("pos_score", pa.float32()),
        ("negative_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("ranks", pa.list_(pa.int32())),
        ("probabilities", pa.list_(pa.float32())),
        ("tiers", pa.list_(pa.uint8())),
        ("sources", pa.list_(pa.string())),
        ("generation", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class NegativeRows:
    """What training needs: query rows int64 [Q] and negative rows int64 [Q, n], -1 padded.

    `positive_rows` int64 [Q] is there if each row stands for one positive of its query.
    """

    query_rows: I64
    ids: I64
    positive_rows: I64 | None = None


def to_table(negatives: Negatives, queries: TextTable, corpus: TextTable) -> pa.Table:
    """Negatives of a block of queries with string ids; lists are as long as what was found."""
    keep = negatives.ids != PAD_ID
    offsets = pa.array(np.concatenate(([0], np.cumsum(keep.sum(axis=1)))), pa.int32())
    names = np.array(negatives.sources, dtype=object)
    flat_ids = corpus.id_strings(negatives.ids[keep])

    def lists(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values)

    count = negatives.query_rows.size
    positives = negatives.positive_rows
    positive_ids = [None] * count if positives is None else corpus.id_strings(positives)
    return pa.Table.from_arrays(
        [
            pa.array(queries.id_strings(negatives.query_rows), pa.string()),
            pa.array(positive_ids, pa.string()),
            pa.array(negatives.pos_scores, pa.float32()),
            lists(pa.array(flat_ids, pa.string())),
            lists(pa.array(negatives.scores[keep], pa.float32())),
            lists(pa.array(negatives.ranks[keep], pa.int32())),
            lists(pa.array(negatives.probabilities[keep], pa.float32())),
            lists(pa.array(negatives.tiers[keep], pa.uint8())),
            lists(pa.array(names[negatives.source[keep]], pa.string())),
            pa.array([negatives.generation] * count, pa.int32()),
        ],
        schema=_SCHEMA,
    )


def write_rows(path: Path, negatives: Negatives, queries: TextTable, corpus: TextTable) -> None:
    """Write the part file of a block."""
    with atomic_write(path) as handle:
        pq.write_table(to_table(negatives, queries, corpus), handle)


def join_parts(parts: Sequence[Path], path: Path) -> int:
    """Stream part files into one with fixed row groups, atomically; returns the row count.

    The bytes depend on the rows alone, not on how the parts were cut.
    """
    count = 0
    with atomic_write(path) as handle, pq.ParquetWriter(handle, _SCHEMA) as writer:
        for group in _regroup(parts):
            writer.write_table(group, row_group_size=_ROW_GROUP)
            count += group.num_rows
    return count


def _regroup(parts: Sequence[Path]) -> Iterator[pa.Table]:
    pending: list[pa.Table] = []
    rows = 0
    for part in parts:
        pending.append(pq.read_table(part, use_threads=False))
        rows += pending[-1].num_rows
        while rows >= _ROW_GROUP:
            table = pa.concat_tables(pending).combine_chunks()
            yield table.slice(0, _ROW_GROUP)
            pending = [table.slice(_ROW_GROUP)]
            rows -= _ROW_GROUP
    if rows:
        yield pa.concat_tables(pending).combine_chunks()


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Negatives in the order of their draw, of queries in ascending id order.

    `query_rows` int64 [Q]; `ids` int64 [Q, m], -1 padded; `scores` float32 [Q, m], -inf padded;
    `probabilities` float32 [Q, m] of the first draw, 0 padded; `positive_rows` as in
    `NegativeRows`.
    """

    query_rows: I64
    ids: I64
    scores: F32
    probabilities: F32
    positive_rows: I64 | None = None


def read_negatives(path: Path, queries: TextTable, corpus: TextTable, n: int) -> NegativeRows:
    """Read row numbers back; raises PyriteError if an id is not in this dataset."""
    table = pq.read_table(path, columns=["query_id", "positive_id", "negative_ids"])
    query_rows, flat, counts = _rows(table, path, queries, corpus)
    positives = _positive_rows(table, path, corpus)
    return NegativeRows(query_rows, _padded(flat, counts, n, PAD_ID), positives)


def read_scored(path: Path, queries: TextTable, corpus: TextTable, n: int) -> ScoredRows:
    """Read row numbers, scores and probabilities back; raises PyriteError as `read_negatives`."""
    names = ["query_id", "positive_id", "negative_ids", "scores", "probabilities"]
    table = pq.read_table(path, columns=names)
    query_rows, flat, counts = _rows(table, path, queries, corpus)

    def column(name: str, empty: float) -> F32:
        values = table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return _padded(values.astype(np.float32), counts, n, empty)

    ids = _padded(flat, counts, n, PAD_ID)
    lists = column("scores", -np.inf), column("probabilities", 0.0)
    return ScoredRows(query_rows, ids, *lists, _positive_rows(table, path, corpus))


def _rows(table: pa.Table, path: Path, queries: TextTable, corpus: TextTable) -> tuple[I64, ...]:
    """Query rows [Q], the rows of all negatives in turn, and how many each query has [Q]."""
    query_rows = queries.ids.find(table.column("query_id").to_pylist())
    lists = table.column("negative_ids").combine_chunks()
    flat = corpus.ids.find(lists.flatten().to_pylist())
    if (query_rows < 0).any() or (flat < 0).any():
        raise PyriteError(f"{path}: holds ids that are not in this dataset; mine again")
    return query_rows, flat, np.asarray(lists.value_lengths())


def _positive_rows(table: pa.Table, path: Path, corpus: TextTable) -> I64 | None:
    column = table.column("positive_id")
    if not len(column) or column.null_count:
        return None
    rows = corpus.ids.find(column.to_pylist())
    if (rows < 0).any():
        raise PyriteError(f"{path}: holds ids that are not in this dataset; mine again")
    return rows


def _padded(flat: npt.NDArray[Any], counts: I64, n: int, empty: float) -> npt.NDArray[Any]:
    """Lists of `counts` [Q] values, one after the other, as rows [Q, n]; what is over is cut."""
    out = np.full((counts.size, n), empty, dtype=flat.dtype)
    column = np.arange(flat.size) - np.repeat(np.cumsum(counts) - counts, counts)
    inside = column < n
    out[np.repeat(np.arange(counts.size), counts)[inside], column[inside]] = flat[inside]
    return out

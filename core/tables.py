"""Text tables and relevance judgements.

Shape suffixes everywhere in Pyrite: Q queries, K candidates, n negatives, N corpus rows,
D dimension, B batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .digest import u64_array
from .errors import PyriteError
from .ids import I64, IdIndex
from .store import atomic_write


@dataclass(frozen=True, slots=True)
class TextTable:
    """Ids and texts of a corpus or of queries; the row number is the position in the file.

    `table` is Arrow with the columns `id` and `text`, memory-mapped from `texts.arrow`, which is
    `path`; `digest` covers ids and texts in row order.
    """

    table: pa.Table
    ids: IdIndex
    digest: str
    where: str
    path: Path | None = None

    @classmethod
    def open(cls, path: Path, digest: str, where: str) -> TextTable:
        """Map an Arrow IPC file written by `write_texts`."""
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        ids = IdIndex.build(table.column("id").to_pylist(), where)
        return cls(table, ids, digest, where, path)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def texts(self, rows: Sequence[int] | npt.NDArray[np.int64] | slice) -> list[str]:
        """Texts of `rows`, in the order asked for."""
        return self._column("text", rows)

    def titles(self, rows: Sequence[int] | npt.NDArray[np.int64] | slice) -> list[str]:
        """Titles of `rows` where they stand apart from the texts; "" where they do not."""
        if "title" in self.table.column_names:
            return self._column("title", rows)
        return [""] * len(range(*rows.indices(len(self))) if isinstance(rows, slice) else rows)

    def id_strings(self, rows: Sequence[int] | npt.NDArray[np.int64] | slice) -> list[str]:
        """String ids of `rows`, in the order asked for."""
        return self._column("id", rows)

    def id_hashes(self) -> npt.NDArray[np.uint64]:
        """A 64-bit hash of each row's id, uint64 [N]: what the draw's noise is made from."""
        return u64_array(self.table.column("id").to_pylist())

    def _column(self, name: str, rows: Sequence[int] | npt.NDArray[np.int64] | slice) -> list[str]:
        column = self.table.column(name)
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
            if rows.step == 1:
                return [str(v) for v in column.slice(rows.start, len(rows)).to_pylist()]
        return [str(v) for v in column.take(pa.array(rows, type=pa.int64())).to_pylist()]


def write_texts(path: Path, rows: Iterable[tuple[str, str]], block: int = 8192) -> int:
    """Stream (id, text) rows to an Arrow IPC file, atomically; returns the number of rows."""
    return _write(path, rows, ("id", "text"), block)


def write_titled(path: Path, rows: Iterable[tuple[str, str, str]], block: int = 8192) -> int:
    """As `write_texts`, of (id, text, title): a title of its own, "" without."""
    return _write(path, rows, ("id", "text", "title"), block)


def _write(path: Path, rows: Iterable[tuple[str, ...]], names: Sequence[str], block: int) -> int:
    schema = pa.schema([(name, pa.large_string()) for name in names])
    count = 0
    with atomic_write(path) as handle, pa.ipc.new_file(handle, schema) as writer:
        left = iter(rows)
        while True:
            part = list(islice(left, block))
            columns = ([row[at] for row in part] for at in range(len(names)))
            arrays = [pa.array(column, pa.large_string()) for column in columns]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            count += len(part)
            if len(part) < block:
                return count


@dataclass(frozen=True, slots=True)
class Qrels:
    """Graded judgements as CSR over query rows: `docs[indptr[q]:indptr[q + 1]]`, sorted by row.

    A document is a positive of the query if its grade is at least `min_grade`.
    """

    indptr: I64
    docs: I64
    grades: npt.NDArray[np.int16]
    min_grade: int = 1

    @classmethod
    def build(
        cls, query_rows: I64, doc_rows: I64, grades: I64, n_queries: int, min_grade: int = 1
    ) -> Qrels:
        """Sort judgement triples into CSR; the same pair judged twice keeps the higher grade."""
        order = np.lexsort((-grades, doc_rows, query_rows))
        q, d, g = query_rows[order], doc_rows[order], grades[order]
        first = np.ones(q.size, dtype=bool)
        first[1:] = (q[1:] != q[:-1]) | (d[1:] != d[:-1])
        q, d, g = q[first], d[first], g[first]
        counts = np.bincount(q, minlength=n_queries)
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return cls(indptr, d.astype(np.int64), g.astype(np.int16), min_grade)

    def __len__(self) -> int:
        return int(self.indptr.size - 1)

    def positives(self, query: int) -> I64:
        """Positive document rows of one query, ascending."""
        part = slice(int(self.indptr[query]), int(self.indptr[query + 1]))
        return self.docs[part][self.grades[part] >= self.min_grade]

    def pairs(self) -> tuple[I64, I64]:
        """Every (query row, positive document row), sorted by query and then by document."""
        query = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        keep = self.grades >= self.min_grade
        return query[keep], self.docs[keep]

    def with_positives(self) -> I64:
        """Rows of the queries that have at least one positive, ascending."""
        return np.unique(self.pairs()[0])

    def is_positive(self, query_rows: I64, ids_QK: I64) -> npt.NDArray[np.bool_]:
        """Which documents `ids_QK` [Q, K] are positives of the query rows [Q]: bool [Q, K]."""
        found = np.zeros(ids_QK.shape, dtype=bool)
        for rows, docs in self.positives_in_turn(query_rows):
            found[rows] |= ids_QK[rows] == docs[:, None]
        return found

    def first_positives(self, query_rows: I64, rank_N: I64) -> I64:
        """The positive of each query row [Q] that comes first by id, int64 [Q]; -1 without one.

        `rank_N` [N] is each corpus row's place in ascending id order.
        """
        out = np.full(query_rows.size, -1, dtype=np.int64)
        for rows, docs in self.positives_in_turn(query_rows):
            first = (out[rows] < 0) | (rank_N[docs] < rank_N[out[rows]])
            out[rows[first]] = docs[first]
        return out

    def positives_in_turn(self, query_rows: I64) -> Iterator[tuple[I64, I64]]:
        """The first positive of each of the query rows [Q], then the second, and so on.

        Yields places among `query_rows` and their document rows. The work of comparing is linear
        in the number of positives.
        """
        first = self.indptr[query_rows]
        counts = self.indptr[query_rows + 1] - first
        ends = np.cumsum(counts)
        flat = np.arange(counts.sum()) + np.repeat(first - (ends - counts), counts)
        positive = self.grades[flat] >= self.min_grade
        owners = np.repeat(np.arange(query_rows.size), counts)[positive]
        docs = self.docs[flat[positive]]
        number = np.arange(owners.size) - np.searchsorted(owners, owners)
        for turn in range(int(number.max(initial=-1)) + 1):
            now = number == turn
            yield owners[now], docs[now]


def check_rows(
    found: I64, ids: Sequence[str], lines: Sequence[int], where: str, table: str
) -> None:
    """Raise PyriteError at the first id that was not found, naming its line."""
    missing = np.flatnonzero(found < 0)
    if missing.size:
        at = int(missing[0])
        raise PyriteError(
            f"{where}:{lines[at]}: unknown {table} id {ids[at]!r} ({missing.size} such lines);"
            f" every id must stand in {table}.jsonl"
        )

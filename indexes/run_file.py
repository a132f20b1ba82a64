"""Somebody else's retrieval as a source: a TREC run or our own candidate export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.digest import digest_file
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.tables import TextTable, check_rows

_BATCH = 65_536
_MAX_SCORE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class RunFile:
    """Ranked documents of the queries in a file, as CSR over table rows of the queries.

    Within a query: score descending, then document id ascending. `ignored` counts lines of queries
    that are not in the query table. Memory: 12 bytes for each line.
    """

    indptr: I64
    docs: I64
    scores: F32
    digest: str
    ignored: int

    def search(self, query_rows: I64, k: int) -> tuple[I64, F32]:
        """The first `k` of each query, ids int64 [B, k] and scores float32 [B, k], padded."""
        ids = np.full((query_rows.size, k), -1, dtype=np.int64)
        scores = np.full((query_rows.size, k), -np.inf, dtype=np.float32)
        for at, row in enumerate(query_rows):
            part = slice(
                int(self.indptr[row]), min(int(self.indptr[row]) + k, int(self.indptr[row + 1]))
            )
            ids[at, : part.stop - part.start] = self.docs[part]
            scores[at, : part.stop - part.start] = self.scores[part]
        return ids, scores


def check_run(path: Path) -> None:
    """Raise PyriteError unless the file is there."""
    if not path.is_file():
        raise PyriteError(
            f"{path}: no such run file; set the source's path to a TREC run or to an"
            " exported candidates.parquet"
        )


def read_run(path: Path, queries: TextTable, corpus: TextTable) -> RunFile:
    """Read `qid Q0 docid rank score tag` lines, or a parquet of query_id, doc_id, score.

    Raises PyriteError with the line for a malformed line, a score that is not finite, a document
    that is not in the corpus, or a document twice for one query.
    """
    check_run(path)
    columns = list(_parquet_rows(path) if path.suffix == ".parquet" else _trec_rows(path))
    query_ids = [q for q, _, _, _ in columns]
    doc_ids = [d for _, d, _, _ in columns]
    lines = np.array([line for _, _, _, line in columns], dtype=np.int64)
    scores = np.array([s for _, _, s, _ in columns], dtype=np.float32)
    query_rows, doc_rows = queries.ids.find(query_ids), corpus.ids.find(doc_ids)
    known = query_rows >= 0
    check_rows(np.where(known, doc_rows, 0), doc_ids, lines.tolist(), str(path), "corpus")
    q, d, s, line = query_rows[known], doc_rows[known], scores[known], lines[known]
    order = np.lexsort((corpus.ids.rank_N[d], -s, q))
    q, d, s, line = q[order], d[order], s[order], line[order]
    _check_distinct(q, d, line, path, queries, corpus)
    counts = np.bincount(q, minlength=len(queries))
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return RunFile(indptr, d, s, digest_file(path), int((~known).sum()))


def _check_distinct(
    q: I64, d: I64, line: I64, path: Path, queries: TextTable, corpus: TextTable
) -> None:
    order = np.lexsort((line, d, q))
    same = (q[order][1:] == q[order][:-1]) & (d[order][1:] == d[order][:-1])
    if same.any():
        at = order[1:][same][0]
        query, doc = queries.id_strings([int(q[at])])[0], corpus.id_strings([int(d[at])])[0]
        raise PyriteError(
            f"{path}:{line[at]}: document {doc!r} stands twice for query {query!r};"
            " a run lists each document once, so remove one line"
        )


def _trec_rows(path: Path) -> Iterator[tuple[str, str, float, int]]:
    with path.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            where = f"{path}:{number}"
            try:
                fields = raw.decode("utf-8").split()
            except UnicodeDecodeError as error:
                raise PyriteError(f"{where}: not UTF-8 ({error}); mend the line") from error
            if not fields:
                continue
            if len(fields) != 6:
                raise PyriteError(
                    f"{where}: {len(fields)} fields, expected 6 (qid Q0 docid rank score tag)"
                )
            yield fields[0], fields[2], _score(fields[4], where), number


def _parquet_rows(path: Path) -> Iterator[tuple[str, str, float, int]]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise PyriteError(f"{path}: not a readable parquet file ({error})") from error
    wanted = ["query_id", "doc_id", "score"]
    missing = [c for c in wanted if c not in file.schema_arrow.names]
    if missing:
        raise PyriteError(
            f"{path}: column {missing[0]!r} is missing; a candidate file has the"
            " columns query_id, doc_id, rank, score, source"
        )
    number = 0
    for batch in file.iter_batches(_BATCH, columns=wanted):
        rows = zip(*(batch.column(c).to_pylist() for c in wanted), strict=True)
        for query, doc, score in rows:
            number += 1
            yield str(query), str(doc), _score(str(score), f"{path}:{number}"), number


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError as error:
        raise PyriteError(f"{where}: score {text!r} is not a number") from error
    # beyond float32 it would become infinite, and pass for padding
    if not abs(score) <= _MAX_SCORE:
        raise PyriteError(f"{where}: score {text!r} is not finite; remove the line")
    return score

"""Candidates as parquet, one row for each: query_id, doc_id, rank, score, source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.candidates import Candidates
from ..core.store import atomic_write
from ..core.tables import TextTable

FILE = "candidates.parquet"
_BLOCK = 1024
_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("source", pa.string()),
        ("source_rank", pa.int32()),
    ]
)


def export_candidates(
    candidates: Candidates, queries: TextTable, corpus: TextTable, path: Path
) -> int:
    """Stream candidates to `path`, atomically; returns the number of rows written.

    `rank` is the place in the joined list, from 1; `source_rank` the rank in the named source.
    """
    count = 0
    names = np.array(candidates.sources, dtype=object)
    with atomic_write(path) as handle, pq.ParquetWriter(handle, _SCHEMA) as writer:
        for start in range(0, candidates.query_rows.size, _BLOCK):
            block = candidates.block(start, min(start + _BLOCK, candidates.query_rows.size))
            rows, columns = np.nonzero(block.ids >= 0)
            table = pa.Table.from_arrays(
                [
                    pa.array(queries.id_strings(block.query_rows[rows]), pa.string()),
                    pa.array(corpus.id_strings(block.ids[rows, columns]), pa.string()),
                    pa.array(columns + 1, pa.int32()),
                    pa.array(block.scores[rows, columns], pa.float32()),
                    pa.array(names[block.source[rows, columns]], pa.string()),
                    pa.array(block.source_rank[rows, columns], pa.int32()),
                ],
                schema=_SCHEMA,
            )
            writer.write_table(table)
            count += table.num_rows
    return count

"""A generation's negatives: those just mined, and for all other queries those of the last one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..core.errors import PyriteError
from ..core.tables import TextTable
from .negatives_file import join_parts


def complete(path: Path, last: Path | None, queries: TextTable, generation: int) -> int:
    """Number the rows of the file `path` as `generation`, and add what it has no query of.

    The rows that come from `last` keep their own number; they are counted in the result. The order
    is that of ascending query ids. Raises PyriteError if an id of `last` is not in `queries`.
    """
    fresh = pq.read_table(path)
    numbers = pa.array(np.full(fresh.num_rows, generation, dtype=np.int32))
    at = fresh.schema.get_field_index("generation")
    fresh = fresh.set_column(at, fresh.schema.field(at), numbers)
    kept = fresh.slice(0, 0)
    if last is not None:
        old = pq.read_table(last)
        kept = old.filter(pc.invert(pc.is_in(old["query_id"], fresh["query_id"].combine_chunks())))
    whole = pa.concat_tables([fresh, kept])
    rows = queries.ids.find(whole["query_id"].to_pylist())
    if (rows < 0).any():
        raise PyriteError(f"{last}: holds ids that are not in this dataset; mine again")
    order = np.argsort(queries.ids.rank_N[rows], kind="stable")
    part = path.with_name(f"part-merged-{path.name}")
    pq.write_table(whole.take(order), part)
    join_parts([part], path)
    part.unlink()
    return int(kept.num_rows)

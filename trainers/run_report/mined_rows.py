"""The rows of mined negatives as arrays, and beside them the candidates they were chosen from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ...core.candidates import Candidates
from ...core.encoder import F32
from ...core.errors import PyriteError
from ...core.ids import I64
from ...core.store import Manifest, read_array
from ...indexes.retrieve import open_candidates
from ...miner.choose_all import REASONS
from ...miner.choose_block import Choice
from ...miner.filters import U16
from ...miner.negatives_file import FILE
from ..run_config import TrainConfig

_BLOCK = 1024


@dataclass(frozen=True)
class MinedRows:
    """`negatives.parquet`, a row for each query (or positive); lists are one after the other.

    `counts` int64 [R] says how many negatives each row has; `row_of` [n] to which row each belongs.
    """

    table: pa.Table
    counts: I64

    @classmethod
    def read(cls, folder: Path) -> MinedRows:
        """The rows of a finished mining."""
        table = pq.read_table(folder / FILE).combine_chunks()
        counts = table.column("negative_ids").combine_chunks().value_lengths()
        return cls(table, np.asarray(counts.to_numpy(zero_copy_only=False), dtype=np.int64))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def pos_scores(self) -> F32:
        """The score of the positive that counts, float32 [R]."""
        return np.asarray(self.table.column("pos_score").to_numpy(), dtype=np.float32)

    @property
    def row_of(self) -> I64:
        return np.repeat(np.arange(len(self)), self.counts)

    def flat(self, name: str) -> pa.Array:
        """A list column without its lists."""
        return self.table.column(name).combine_chunks().flatten()

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A flat column of numbers, float64 [n]."""
        values = self.flat(name).to_numpy(zero_copy_only=False)
        return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Listed:
    """What the rows were chosen from: row i's candidates are the i-th, its reasons `reasons[i]`.

    `places` int64 [R] are the rows' places among the candidates' queries.
    """

    candidates: Candidates
    reasons: U16
    places: I64

    def blocks(self) -> Iterator[tuple[slice, Candidates, U16]]:
        """Rows in turn, so that one block is in memory at a time."""
        for start in range(0, self.places.size, _BLOCK):
            part = slice(start, min(start + _BLOCK, self.places.size))
            yield part, *self.rows(np.arange(part.start, part.stop))

    def rows(self, rows: I64) -> tuple[Candidates, U16]:
        """Candidates and reasons of some rows, as in-memory arrays."""
        return self.candidates.rows(self.places[rows]), np.asarray(self.reasons[rows])


def listed_of(
    config: TrainConfig, manifest: Manifest, folder: Path, rows: MinedRows
) -> Listed | str:
    """The candidates of a run where they still lie, or a sentence of why they cannot be shown."""
    choice = Choice(config.filters, config.sampler, config.seed, config.block_queries)
    if choice.only_random:
        return "all negatives are random documents, so what was retrieved played no part"
    key = manifest.data["inputs"]["candidates"]
    home = config.cache / "candidates" / key
    gone = (
        f"the candidates {key[:12]} are not in cache_dir={config.cache_dir}; pyrite mine finds them"
        " again"
    )
    try:
        found = Manifest.read(home)
        if found is None or not found.intact(home):
            return gone
        candidates = open_candidates(home, found)
        reasons = read_array(folder / REASONS)
    except PyriteError:
        return gone
    places = _places(rows)
    depth = candidates.ids.shape[1]
    if reasons.shape != (len(rows), depth) or places[-1] + 1 != candidates.query_rows.size:
        return "the candidates in the cache are not those of these negatives; mine again"
    return Listed(candidates, reasons, places)


def _places(rows: MinedRows) -> I64:
    """The place of each row's query: rows of one query stand together."""
    ids = rows.table.column("query_id").combine_chunks().to_numpy(zero_copy_only=False)
    new = np.ones(ids.size, dtype=bool)
    new[1:] = ids[1:] != ids[:-1]
    return np.cumsum(new) - 1

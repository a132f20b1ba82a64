"""A cross-encoder's scores of pairs, looked up by row number: for distillation and for doubts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ..core.beir import Dataset
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.mapped import Mapped
from ..core.store import Manifest, discard, write_array

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Teacher:
    """Log-odds of scored pairs, memory-mapped.

    `pairs_P` int64, ascending, is `query row * documents + document row`; `log_odds_P` float32.
    """

    pairs_P: Mapped[np.int64]
    log_odds_P: Mapped[np.float32]
    documents: int

    def scores(self, query_rows_B: I64, docs_BC: I64) -> F32:
        """Log-odds that each document answers its row's query, float32 [B, C]; NaN if unknown."""
        pairs = self.pairs_P.array
        asked = query_rows_B[:, None] * self.documents + docs_BC
        at = np.minimum(np.searchsorted(pairs, asked), max(pairs.size - 1, 0))
        known = (docs_BC >= 0) & (pairs[at] == asked if pairs.size else False)
        scores = self.log_odds_P.array[at] if pairs.size else np.zeros(asked.shape)
        return np.where(known, scores, np.nan).astype(np.float32)

    def doubts(self, query_rows_B: I64, docs_BC: I64) -> F32:
        """Probability that each document answers its row's query; 0 where nothing is known."""
        log_odds = self.scores(query_rows_B, docs_BC).astype(np.float64)
        with np.errstate(over="ignore"):
            found = 1.0 / (1.0 + np.exp(-log_odds))
        return np.nan_to_num(found, nan=0.0).astype(np.float32)


def open_teacher(path: Path, dataset: Dataset, folder: Path, key: str) -> Teacher:
    """The scores in `path`, which `pyrite mine` with `filters.denoise` writes, kept in `folder`.

    Raises PyriteError if the file is missing or names ids that are not in the dataset.
    """
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("key") != key or not manifest.intact(folder):
        discard(folder)
        pairs, log_odds = _read(path, dataset)
        write_array(folder / "pairs.npy", pairs)
        write_array(folder / "log_odds.npy", log_odds)
        Manifest.write(
            folder, schema=SCHEMA, kind="teacher", key=key, counts={"pairs": int(pairs.size)}
        )
    mapped = Mapped[np.int64](folder / "pairs.npy"), Mapped[np.float32](folder / "log_odds.npy")
    return Teacher(*mapped, len(dataset.corpus))


def _read(path: Path, dataset: Dataset) -> tuple[I64, F32]:
    if not path.is_file():
        raise PyriteError(
            f"{path}: no teacher's scores; set filters.denoise.model, whose scores are kept there"
        )
    table = pq.read_table(path, columns=["query_id", "doc_id", "log_odds"])
    queries = dataset.queries.ids.find(table.column("query_id").to_pylist())
    docs = dataset.corpus.ids.find(table.column("doc_id").to_pylist())
    if (queries < 0).any() or (docs < 0).any():
        raise PyriteError(f"{path}: holds ids that are not in this dataset; mine again")
    pairs, first = np.unique(queries * len(dataset.corpus) + docs, return_index=True)
    log_odds = table.column("log_odds").combine_chunks().to_numpy(zero_copy_only=False)
    return pairs, log_odds[first].astype(np.float32)

"""Made negatives as training reads them: beside the generations of mined ones, which they outlast.

A made text is a document whose row lies behind those of the corpus, so that masks know it by its
number like any other; it is no part of the corpus that is searched or evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.beir import Dataset
from ..core.candidates import PAD_ID
from ..core.digest import digest_json, u64_array
from ..core.ids import I64
from ..core.mapped import Mapped
from ..core.rng import U64
from ..core.store import Manifest, discard, write_array
from ..core.text import normalise
from ..miner.made.made_file import MadeTexts, made_key, open_made
from .made_config import MadeSection
from .row_draw import ROTATION, hashes, rotated_columns
from .row_table import RowTable

SCHEMA = 1
_KNOB = "made.path"
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class MadePool:
    """The made texts of each query, memory-mapped; `texts` is the file that holds them.

    `rows` int64 [P] are document rows, from `first` on; those of query row q are
    `rows[starts[q]:starts[q + 1]]`. A training row has `n` of them.
    """

    starts: Mapped[np.int64]
    rows: Mapped[np.int64]
    first: int
    texts: Path
    n: int

    def draw(self, table: RowTable, rows_B: I64, mined_Bm: I64, epoch: int, seed: int) -> I64:
        """Document rows of the `rows_B` in `epoch`, int64 [B, n]; -1 where there are fewer.

        They rotate by a hash of the ids, as mined ones do. A row none of whose `mined_Bm` is there
        has none: made negatives never stand alone.
        """
        queries = table.queries.array[rows_B]
        starts = self.starts.array[queries]
        counts = self.starts.array[queries + 1] - starts
        column = np.arange(int(counts.max(initial=0)))
        inside = column < counts[:, None]
        inside &= (mined_Bm != PAD_ID).any(axis=1)[:, None]
        at = np.where(inside, starts[:, None] + column, 0)
        ids = np.where(inside, self.rows.array[at], PAD_ID)
        docs = table.doc_hashes_N.array[np.maximum(ids, 0)]
        keys = hashes(seed, 0, ROTATION, table.query_hashes.array[rows_B], docs)
        columns = rotated_columns(ids, keys, epoch, self.n)
        if not ids.shape[1]:
            return np.full(columns.shape, PAD_ID, dtype=np.int64)
        found = np.take_along_axis(ids, np.maximum(columns, 0), axis=1)
        return np.where(columns >= 0, found, PAD_ID)


def opened(config: MadeSection, dataset: Dataset) -> MadeTexts | None:
    """What `config` names, for this dataset's queries; raises PyriteError as `open_made`."""
    if config.path is None:
        return None
    return open_made(Path(config.path), dataset.queries, dataset.corpus, _KNOB)


def key_of(config: MadeSection) -> list[object]:
    """What of it decides the weights of a model; nothing without a path."""
    if config.path is None:
        return []
    return [made_key(Path(config.path), _KNOB), config.negatives]


def made_facts(config: MadeSection) -> dict[str, str]:
    """What the model card says of it; nothing without a path."""
    if config.path is None:
        return {}
    return {
        "made negatives": f"up to {config.negatives} a row beside the mined ones",
        "digest of the made negatives": made_key(Path(config.path), _KNOB),
    }


def text_hashes_of(made: MadeTexts) -> U64:
    """Hashes of the normalised texts, as `core.dataset.text_hashes` of a corpus."""
    parts = [
        u64_array([normalise(t) for t in made.table.texts(slice(start, start + _BLOCK))])
        for start in range(0, len(made.table), _BLOCK)
    ]
    return np.concatenate(parts)


def write_made_pool(folder: Path, made: MadeTexts, dataset: Dataset, n: int) -> MadePool:
    """Lay the texts out by query row in `folder`, or keep what is there."""
    if made.table.path is None:
        raise ValueError("made texts without a file")
    first = len(dataset.corpus)
    key = digest_json({"schema": SCHEMA, "made": made.key, "dataset": dataset.digest()})
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("key") != key or not manifest.intact(folder):
        discard(folder)
        order = np.argsort(made.queries, kind="stable")
        counts = np.bincount(made.queries, minlength=len(dataset.queries))
        write_array(folder / "starts.npy", np.append(0, np.cumsum(counts)).astype(np.int64))
        write_array(folder / "rows.npy", made.rows[order] + first)
        counted = {"queries": int((counts > 0).sum()), "pairs": int(made.rows.size)}
        Manifest.write(folder, schema=SCHEMA, kind="made pool", key=key, counts=counted)
    starts, rows = (Mapped[Any](folder / f"{name}.npy") for name in ("starts", "rows"))
    return MadePool(starts, rows, first, made.table.path, n)

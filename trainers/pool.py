"""Mined negatives as training reads them: one memory-mapped generation, pointed to by number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.mapped import Mapped
from ..core.store import Manifest, discard, write_array
from ..miner.negatives_file import ScoredRows

SCHEMA = 1
_COLUMNS = ("ids", "scores", "probabilities")


@dataclass(frozen=True, slots=True)
class Pool:
    """One generation: `ids` int64, `scores` and `probabilities` float32 [Q, m], -1 / -inf / 0 pad.

    Row q is the q-th training query, whatever was mined for it in this generation.
    """

    generation: int
    ids: I64
    scores: F32
    probabilities: F32


def write_pool(
    folder: Path, generation: int, mined: ScoredRows, query_rows_Q: I64, key: str
) -> Manifest:
    """Write what was mined for the training queries as `generation`, or keep what is there.

    Queries without mined negatives get an empty row; the manifest counts them.
    """
    target = pool_folder(folder, generation)
    manifest = Manifest.read(target)
    if manifest is not None and manifest.data.get("key") == key and manifest.intact(target):
        return manifest
    discard(target)
    order = np.argsort(mined.query_rows, kind="stable")
    at = np.searchsorted(mined.query_rows, query_rows_Q, sorter=order)
    at = order[np.minimum(at, order.size - 1)] if order.size else np.zeros_like(query_rows_Q)
    found = (
        mined.query_rows[at] == query_rows_Q if order.size else np.zeros(query_rows_Q.size, bool)
    )
    columns = {
        "ids": _rows(mined.ids, at, found, PAD_ID),
        "scores": _rows(mined.scores, at, found, -np.inf),
        "probabilities": _rows(mined.probabilities, at, found, 0.0),
    }
    for name in _COLUMNS:
        write_array(target / f"{name}.npy", columns[name])
    counts = {
        "queries": int(query_rows_Q.size),
        "negatives": int((columns["ids"] != PAD_ID).sum()),
        "queries_without": int((columns["ids"] == PAD_ID).all(axis=1).sum()),
    }
    return Manifest.write(
        target, schema=SCHEMA, kind="pool", key=key, generation=generation, counts=counts
    )


def _rows(values: npt.NDArray[Any], at: I64, found: npt.NDArray[np.bool_], empty: float) -> Any:
    if not len(values):
        return np.full((at.size, values.shape[1]), empty, dtype=values.dtype)
    return np.where(found[:, None], values[at], values.dtype.type(empty))


def pool_folder(folder: Path, generation: int) -> Path:
    """Where a generation lies."""
    return folder / f"generation-{generation:06d}"


class Pools:
    """The generations below `folder`; each is mapped when a row first asks for it.

    Only the two latest stay mapped: at a border both are in use. Pickled as the path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[int, Pool] = {}

    def __getitem__(self, generation: int) -> Pool:
        """Raises PyriteError if the generation is not there, or not whole."""
        if generation not in self._open:
            target = pool_folder(self.folder, generation)
            if Manifest.read(target) is None:
                raise PyriteError(
                    f"{target}: no such generation of negatives; publish it before training is"
                    " pointed to it"
                )
            parts = (Mapped[Any](target / f"{name}.npy").array for name in _COLUMNS)
            self._open[generation] = Pool(generation, *parts)
            for old in sorted(self._open)[:-2]:
                del self._open[old]
        return self._open[generation]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_open": {}}

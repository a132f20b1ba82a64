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

    Row q is the q-th of `Asked`, whatever was mined for it in this generation.
    """

    generation: int
    ids: I64
    scores: F32
    probabilities: F32


@dataclass(frozen=True, slots=True)
class Asked:
    """What negatives are mined for: training queries, or each with one of its positives.

    `query_rows` int64 [Q]; `positive_rows` int64 [Q] or None.
    """

    query_rows: I64
    positive_rows: I64 | None = None

    @classmethod
    def of(cls, mined: ScoredRows) -> Asked:
        """What `mined` was mined for."""
        return cls(mined.query_rows, mined.positive_rows)

    def find(self, other: Asked) -> I64:
        """Places in this of each row of `other`, int64; -1 where it is not here."""
        span = 1 + max(int(r.max(initial=0)) for r in (self._docs(), other._docs()))
        keys = self.query_rows * span + self._docs()
        wanted = other.query_rows * span + other._docs()
        if not keys.size:
            return np.full(wanted.size, -1, dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), keys.size - 1)]
        return np.where(keys[at] == wanted, at, -1)

    def _docs(self) -> I64:
        docs = self.positive_rows
        return np.zeros_like(self.query_rows) if docs is None else docs


def write_pool(
    folder: Path, generation: int, mined: ScoredRows, asked: Asked, key: str
) -> Manifest:
    """Write what was mined for `asked` as `generation`, or keep what is there.

    Rows without mined negatives are empty; the manifest counts them.
    """
    target = pool_folder(folder, generation)
    manifest = Manifest.read(target)
    if manifest is not None and manifest.data.get("key") == key and manifest.intact(target):
        return manifest
    discard(target)
    at = Asked.of(mined).find(asked)
    columns = {
        "ids": _rows(mined.ids, at, PAD_ID),
        "scores": _rows(mined.scores, at, -np.inf),
        "probabilities": _rows(mined.probabilities, at, 0.0),
    }
    for name in _COLUMNS:
        write_array(target / f"{name}.npy", columns[name])
    counts = {
        "queries": int(at.size),
        "negatives": int((columns["ids"] != PAD_ID).sum()),
        "queries_without": int((columns["ids"] == PAD_ID).all(axis=1).sum()),
    }
    return Manifest.write(
        target, schema=SCHEMA, kind="pool", key=key, generation=generation, counts=counts
    )


def _rows(values: npt.NDArray[Any], at: I64, empty: float) -> npt.NDArray[Any]:
    out = np.full((at.size, values.shape[1]), empty, dtype=values.dtype)
    out[at >= 0] = values[at[at >= 0]]
    return out


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

"""Vectors of earlier stores: a text that was encoded before is not encoded again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .encoder import F32
from .ids import I64
from .store import Manifest, read_array

_DIGEST = "S16"


def text_digests(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """A 128-bit digest of each text, [len(texts)] of 16 bytes."""
    return np.array(
        [
            hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            for t in texts
        ],
        dtype=_DIGEST,
    )


@dataclass(frozen=True, slots=True)
class Donors:
    """Finished stores of one recipe, searchable by text.

    `keys` are the sorted digests of their texts; `shards` their mapped vectors; `places` [n, 2]
    give the shard and the row of each key.
    """

    keys: npt.NDArray[np.bytes_]
    places: I64
    shards: tuple[npt.NDArray[Any], ...]

    def rows(self, digests: npt.NDArray[np.bytes_]) -> I64:
        """Row numbers for `take`, int64 [len(digests)]; -1 where no store has the text."""
        if not self.keys.size:
            return np.full(digests.size, -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.keys, digests), self.keys.size - 1)
        return np.where(self.keys[at] == digests, at, -1)

    def take(self, rows: I64) -> F32:
        """Vectors of found rows, float32 [len(rows), D]."""
        shard, row = self.places[rows].T
        out = np.empty((rows.size, self.shards[0].shape[1]), dtype=np.float32)
        for number in np.unique(shard):
            here = shard == number
            out[here] = self.shards[int(number)][row[here]]
        return out


def find_donors(folder: Path, recipe: str) -> Donors:
    """Every finished store below `folder` with the same recipe, in the order of their names.

    A shard that does not match its manifest gives nothing.
    """
    keys: list[npt.NDArray[np.bytes_]] = []
    places: list[I64] = []
    shards: list[npt.NDArray[Any]] = []
    for store in sorted(folder.glob("*")):
        manifest = Manifest.read(store)
        if manifest is None or manifest.data.get("recipe") != recipe:
            continue
        damaged = manifest.damaged(store)
        if "texts.npy" in damaged:
            continue
        start = 0
        digests = np.asarray(read_array(store / "texts.npy"))
        for name in sorted(n for n in manifest.data["files"] if n.startswith("emb-")):
            first, start = start, start + int(manifest.data["shard_rows"])
            if name in damaged:
                continue
            shards.append(read_array(store / name))
            size = shards[-1].shape[0]
            keys.append(digests[first : first + size])
            owner = np.full(size, len(shards) - 1)
            places.append(np.stack((owner, np.arange(size)), axis=1).astype(np.int64))
    if not keys:
        return Donors(np.empty(0, dtype=_DIGEST), np.empty((0, 2), dtype=np.int64), ())
    ordered, at = np.unique(np.concatenate(keys), return_index=True)
    return Donors(ordered, np.concatenate(places)[at], tuple(shards))

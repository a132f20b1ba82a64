"""The embedding store: memory-mapped shards, keyed by content, verified by digest.

A shard is built from parts of 2,048 rows; whole parts survive a kill. The batches inside a part
follow from its texts alone, so a resumed run computes the same bytes as an uninterrupted one.
Texts that a finished store of the same encoder already holds are copied, not encoded again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .digest import digest_json
from .donors import Donors, find_donors, text_digests
from .encode_blocks import Done, encode_blocks
from .encoder import F32, Encoder, Role
from .errors import PyriteError
from .ids import I64
from .progress import progress
from .store import (
    Manifest,
    join_arrays,
    part_done,
    read_array,
    remove_parts,
    write_array,
    write_part,
)
from .tables import TextTable

logger = logging.getLogger(__name__)

SCHEMA = 2
PART_ROWS = 2048
SHARD_PARTS = 64
SHARD_ROWS = PART_ROWS * SHARD_PARTS
StoreType = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """N vectors of D numbers in row order: shards of `shard_rows` rows, float32 or float16.

    Shards are mapped; what `blocks` and `take` return is float32. `key` says what was asked for,
    `content` covers the bytes that came of it: vectors copied from an earlier store were rounded in
    other batches, so whatever is computed from vectors is keyed by their content.
    """

    shards: tuple[npt.NDArray[Any], ...]
    shard_rows: int
    key: str
    content: str = ""

    @classmethod
    def from_array(cls, array_ND: F32, key: str = "") -> Embeddings:
        """One shard from memory; raises PyriteError unless it is a finite matrix."""
        if array_ND.ndim != 2:
            raise PyriteError(f"embeddings have shape {array_ND.shape}, expected [N, D]")
        values = np.ascontiguousarray(array_ND, dtype=np.float32)
        _check_finite(values, np.arange(len(values)), "embeddings")
        return cls((values,), max(values.shape[0], 1), key)

    def __len__(self) -> int:
        return sum(s.shape[0] for s in self.shards)

    @property
    def dimension(self) -> int:
        return int(self.shards[0].shape[1])

    @property
    def identity(self) -> str:
        """What anything computed from these vectors is keyed by."""
        return self.content or self.key

    def blocks(self, rows: int = 65_536) -> Iterator[tuple[int, F32]]:
        """(first row, vectors) of at most `rows` rows each, in row order; no block spans shards."""
        for at, shard in enumerate(self.shards):
            for start in range(0, shard.shape[0], rows):
                block = shard[start : start + rows]
                yield at * self.shard_rows + start, np.asarray(block, dtype=np.float32)

    def take(self, rows: I64) -> F32:
        """Vectors of `rows` (any shape), float32 [*rows.shape, D]; rows must be in range."""
        flat = rows.reshape(-1)
        if len(self.shards) == 1:
            return np.asarray(self.shards[0][flat], dtype=np.float32).reshape(
                *rows.shape, self.dimension
            )
        out = np.empty((flat.size, self.dimension), dtype=np.float32)
        which = flat // self.shard_rows
        for at in np.unique(which):
            here = np.flatnonzero(which == at)
            out[here] = self.shards[int(at)][flat[here] - int(at) * self.shard_rows]
        return out.reshape(*rows.shape, self.dimension)


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """How vectors are cut and kept: number type, rows in a part, parts in a shard."""

    dtype: StoreType = "float32"
    part_rows: int = PART_ROWS
    shard_parts: int = SHARD_PARTS


DEFAULT_LAYOUT = StoreLayout()


def embed(
    encoder: Encoder,
    table: TextTable,
    role: Role,
    cache: Path,
    max_tokens: int,
    rows: I64 | None = None,
    layout: StoreLayout = DEFAULT_LAYOUT,
) -> Embeddings:
    """Encode `rows` of a table (all by default) into the cache, or map what is there already.

    Memory: one part of vectors and one batch of at most `max_tokens` padded tokens. Finished parts
    of an earlier run are verified by digest and kept. Raises PyriteError on a vector that is not
    finite or has the wrong dimension.
    """
    chosen = np.arange(len(table)) if rows is None else rows
    recipe = {
        "schema": SCHEMA,
        "encoder": encoder.fingerprint,
        "role": role,
        "max_tokens": max_tokens,
        "dtype": layout.dtype,
        "part_rows": layout.part_rows,
    }
    texts = {"texts": table.digest, "rows": None if rows is None else rows.tolist()}
    key = digest_json({**recipe, **texts, "shard_parts": layout.shard_parts})
    folder = cache / "embeddings" / key
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.intact(folder):
        # what is whole of a damaged store is a donor too
        donors = find_donors(cache / "embeddings", digest_json(recipe))
        if manifest is not None:
            # its manifest stays until the new one: after a kill what is whole is a donor still
            logger.warning("%s does not match its manifest: encoding what is damaged", folder)
        job = _Job(encoder, table, role, folder, chosen, max_tokens, layout)
        job.run(donors)
        Manifest.write(
            folder,
            schema=SCHEMA,
            kind="embeddings",
            recipe=digest_json(recipe),
            role=role,
            encoder=encoder.fingerprint,
            texts=table.digest,
            counts={"rows": int(chosen.size), "copied": job.copied},
            dimension=encoder.dimension,
            shard_rows=layout.part_rows * layout.shard_parts,
        )
        manifest = Manifest.read(folder)
    remove_parts(folder)
    content = digest_json(manifest.data["files"]) if manifest is not None else ""
    return _open(folder, chosen.size, layout, content)


def encode_in_memory(
    encoder: Encoder, table: TextTable, role: Role, max_tokens: int, rows: I64 | None = None
) -> Embeddings:
    """Encode `rows` of a table (all by default), kept in no cache.

    Raises PyriteError on a vector that is not finite or has the wrong dimension.
    """
    chosen = np.arange(len(table)) if rows is None else rows
    starts = range(0, chosen.size, PART_ROWS)
    blocks = (table.texts(chosen[start : start + PART_ROWS]) for start in starts)
    vectors = np.empty((chosen.size, encoder.dimension), dtype=np.float32)
    for number, found in encode_blocks(encoder, blocks, len(starts), role, max_tokens):
        vectors[starts[number] : starts[number] + len(found)] = found
    return Embeddings.from_array(vectors)


def _open(folder: Path, rows: int, layout: StoreLayout, content: str) -> Embeddings:
    shard_rows = layout.part_rows * layout.shard_parts
    numbers = range(-(-rows // shard_rows))
    shards = tuple(read_array(_shard_path(folder, n)) for n in numbers)
    return Embeddings(shards, shard_rows, folder.name, content)


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"emb-{number:05d}.npy"


class _Job:
    """One table on its way into the store."""

    def __init__(
        self,
        encoder: Encoder,
        table: TextTable,
        role: Role,
        folder: Path,
        rows: I64,
        max_tokens: int,
        layout: StoreLayout,
    ) -> None:
        self.encoder = encoder
        self.table = table
        self.role = role
        self.folder = folder
        self.rows = rows
        self.max_tokens = max_tokens
        self.layout = layout
        self.copied = 0
        self.digests: dict[int, npt.NDArray[np.bytes_]] = {}

    def run(self, donors: Donors) -> None:
        """Write all parts, then the shards, then the digests of the texts."""
        starts = range(0, self.rows.size, self.layout.part_rows)
        todo = [start for start in starts if not part_done(self._part(start))]
        before = self.rows.size - sum(self._rows(start).size for start in todo)
        title = f"encode {self.role} texts"
        with progress(title, self.rows.size, "texts", initial=before) as bar:
            for start, vectors in self._encoded(todo, donors, bar.update):
                _check_finite(vectors, self._rows(start), f"{self.table.where} ({self.role})")
                write_part(self._part(start), vectors.astype(self.layout.dtype))
        self._join(starts)
        known = [self._digests(start) for start in starts]
        self.copied = sum(int((donors.rows(digests) >= 0).sum()) for digests in known)
        write_array(self.folder / "texts.npy", np.concatenate(known or [text_digests([])]))

    def _encoded(self, todo: list[int], donors: Donors, done: Done) -> Iterator[tuple[int, F32]]:
        """The vectors of the parts that begin at `todo`, in any order."""
        under_way: dict[int, tuple[F32, I64]] = {}

        def blocks() -> Iterator[list[str]]:
            for number, start in enumerate(todo):
                texts = self.table.texts(self._rows(start))
                copied = donors.rows(self._digests(start, texts))
                vectors = np.empty((len(texts), self.encoder.dimension), dtype=np.float32)
                old, new = np.flatnonzero(copied >= 0), np.flatnonzero(copied < 0)
                if old.size:
                    vectors[old] = donors.take(copied[old])
                    done(old.size)
                under_way[number] = vectors, new
                yield [texts[i] for i in new]

        encoded = encode_blocks(self.encoder, blocks(), len(todo), self.role, self.max_tokens, done)
        for number, found in encoded:
            vectors, new = under_way.pop(number)
            vectors[new] = found
            yield todo[number], vectors

    def _rows(self, start: int) -> I64:
        return self.rows[start : start + self.layout.part_rows]

    def _digests(self, start: int, texts: list[str] | None = None) -> npt.NDArray[np.bytes_]:
        if start not in self.digests:
            self.digests[start] = text_digests(texts or self.table.texts(self._rows(start)))
        return self.digests[start]

    def _part(self, start: int) -> Path:
        return self.folder / f"part-{self.layout.part_rows}-{start:010d}.npy"

    def _join(self, starts: range) -> None:
        rows = self.layout.part_rows * self.layout.shard_parts
        for number in range(-(-self.rows.size // rows)):
            first = number * rows
            inside = [self._part(s) for s in starts if first <= s < first + rows]
            shape = (min(rows, self.rows.size - first), self.encoder.dimension)
            join_arrays(inside, _shard_path(self.folder, number), self.layout.dtype, shape)


def _check_finite(vectors: F32, rows: I64, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise PyriteError(
            f"{where}: row {int(rows[bad[0]])} has a vector with NaN or infinity"
            f" ({bad.size} such rows); check the model or its dtype (encoder.dtype=float32)"
        )

"""The embedding store: memory-mapped shards, written one by one, keyed by content.

Only whole shards exist, so a kill loses at most the shard in flight. The batches inside a shard
follow from its texts alone: a resumed run computes the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .digest import digest_json
from .encoder import F32, Encoder, Role, plan_batches
from .errors import PyriteError
from .ids import I64
from .progress import progress
from .store import Manifest, discard, part_done, read_array, write_part
from .tables import TextTable

logger = logging.getLogger(__name__)

SCHEMA = 1
SHARD_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Embeddings:
    """N vectors of D numbers in row order: float32 shards of `shard_rows` rows, mapped."""

    shards: tuple[npt.NDArray[np.float32], ...]
    shard_rows: int
    key: str

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

    def blocks(self) -> Iterator[tuple[int, F32]]:
        """(first row, vectors) of each shard, in row order."""
        for at, shard in enumerate(self.shards):
            yield at * self.shard_rows, shard

    def take(self, rows: I64) -> F32:
        """Vectors of `rows` (any shape), float32 [*rows.shape, D]; rows must be in range."""
        flat = rows.reshape(-1)
        out = np.empty((flat.size, self.dimension), dtype=np.float32)
        which = flat // self.shard_rows
        for at in np.unique(which):
            here = np.flatnonzero(which == at)
            out[here] = self.shards[int(at)][flat[here] - int(at) * self.shard_rows]
        return out.reshape(*rows.shape, self.dimension)


def embed(
    encoder: Encoder,
    table: TextTable,
    role: Role,
    cache: Path,
    max_tokens: int,
    rows: I64 | None = None,
    shard_rows: int = SHARD_ROWS,
) -> Embeddings:
    """Encode `rows` of a table (all by default) into the cache, or map what is there already.

    Memory: one shard of vectors and one batch of at most `max_tokens` padded tokens. Finished
    shards of an earlier run are verified by digest and kept. Raises PyriteError on a vector that
    is not finite or has the wrong dimension.
    """
    chosen = np.arange(len(table)) if rows is None else rows
    key = digest_json(
        {
            "schema": SCHEMA,
            "encoder": encoder.fingerprint,
            "role": role,
            "texts": table.digest,
            "rows": None if rows is None else rows.tolist(),
            "max_tokens": max_tokens,
            "shard_rows": shard_rows,
        }
    )
    folder = cache / "embeddings" / key
    starts = range(0, chosen.size, shard_rows)
    manifest = Manifest.read(folder)
    if manifest is not None and not manifest.intact(folder):
        logger.warning("%s does not match its manifest: encoding it again", folder)
        discard(folder)
        manifest = None
    if manifest is None:
        encode = encoder.encode_queries if role == "query" else encoder.encode_documents
        _write_shards(encoder, encode, table, role, folder, chosen, starts, max_tokens)
        Manifest.write(
            folder,
            schema=SCHEMA,
            kind="embeddings",
            role=role,
            encoder=encoder.fingerprint,
            texts=table.digest,
            rows=int(chosen.size),
            dimension=encoder.dimension,
        )
    shards = tuple(read_array(_shard_path(folder, s // shard_rows)) for s in starts)
    return Embeddings(shards, shard_rows, key)


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"emb-{number:05d}.npy"


def _write_shards(
    encoder: Encoder,
    encode: Callable[[Sequence[str]], F32],
    table: TextTable,
    role: Role,
    folder: Path,
    rows: I64,
    starts: range,
    max_tokens: int,
) -> None:
    pending = [s for s in starts if not part_done(_shard_path(folder, s // starts.step))]
    done = rows.size - sum(min(starts.step, rows.size - s) for s in pending)
    with progress(f"encode {role} texts", total=rows.size, unit="texts", initial=done) as bar:
        for start in pending:
            shard = rows[start : start + starts.step]
            texts = table.texts(shard)
            vectors = np.empty((shard.size, encoder.dimension), dtype=np.float32)
            for batch in plan_batches(encoder.lengths(texts, role), max_tokens):
                vectors[batch] = _checked(encode([texts[i] for i in batch]), batch.size, encoder)
                bar.update(batch.size)
            _check_finite(vectors, shard, f"{table.where} ({role})")
            write_part(_shard_path(folder, start // starts.step), vectors)


def _checked(vectors: F32, rows: int, encoder: Encoder) -> F32:
    if vectors.shape != (rows, encoder.dimension):
        raise PyriteError(
            f"the encoder returned shape {vectors.shape} for {rows} texts; expected"
            f" ({rows}, {encoder.dimension})"
        )
    return vectors


def _check_finite(vectors: F32, rows: I64, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise PyriteError(
            f"{where}: row {int(rows[bad[0]])} has a vector with NaN or infinity"
            f" ({bad.size} such rows); check the model or its dtype (encoder.dtype=float32)"
        )

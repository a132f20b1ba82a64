"""Vectors that another program computed: mapped `.npy` files, checked, aligned with the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..digest import digest_file, digest_json
from ..embeddings import SHARD_ROWS, Embeddings
from ..encoder import F32, Role
from ..errors import PyriteError
from ..ids import I64, IdIndex
from ..progress import progress
from ..store import Manifest, discard, part_done, read_array, write_part
from ..tables import TextTable
from .common import bad_rows, unit_rows

if TYPE_CHECKING:
    from ..sbert import EncoderConfig

SCHEMA = 1
Array = npt.NDArray[Any]


def precomputed_embeddings(
    path: Path,
    table: TextTable,
    ids: Path | None,
    normalize: bool,
    cache: Path,
    rows: I64 | None = None,
    shard_rows: int = SHARD_ROWS,
) -> Embeddings:
    """Vectors of `rows` of a table (all by default) from an `.npy` [M, D] of float32 or float16.

    Row i of the file belongs to row i of the table, or to the i-th of `ids` (a `.txt` with one id
    a line, or an `.npy` of strings); a file with ids may have rows that the table does not ask
    for. Shards are views of the mapped file where it can be used as it is: float32, C order, same
    rows, `normalize` off. Otherwise they are converted into the cache, one shard in memory at a
    time; a kill loses at most the shard in flight.

    Raises PyriteError for an unreadable file, another dtype or shape, a row count or an id that
    does not fit the table, NaN or infinity. The values are read once for each content of the
    file; its bytes are digested at every call.
    """
    source = _open(path)
    at = _aligned(source, path, table, ids)
    if rows is not None:
        at = rows if at is None else at[rows]
    key = digest_json(
        {
            "schema": SCHEMA,
            "kind": "precomputed",
            "file": digest_file(path),
            "ids": None if ids is None else digest_file(ids),
            "texts": table.digest,
            "rows": None if rows is None else rows.tolist(),
            "normalize": normalize,
            "shard_rows": shard_rows,
        }
    )
    folder = cache / "embeddings" / key
    direct = at is None and not normalize and _usable(source)
    wanted = np.arange(len(table)) if at is None else at
    job = _Job(path, source, wanted, normalize, folder, shard_rows, direct)
    manifest = Manifest.read(folder)
    if manifest is not None and not manifest.intact(folder):
        discard(folder)
        manifest = None
    if manifest is None:
        job.run()
        Manifest.write(
            folder,
            schema=SCHEMA,
            kind="embeddings",
            encoder="precomputed",
            texts=table.digest,
            rows=int(wanted.size),
            dimension=int(source.shape[1]),
            mapped=direct,
        )
    return Embeddings(job.shards(), shard_rows, key)


@dataclass(frozen=True, slots=True)
class _Job:
    """Rows `wanted` [n] of `source` [M, D], checked and, unless `direct`, written as shards."""

    path: Path
    source: Array
    wanted: I64
    normalize: bool
    folder: Path
    shard_rows: int
    direct: bool

    def run(self) -> None:
        """Check every wanted row; write the shards that are not there yet."""
        with progress(f"read {self.path.name}", total=self.wanted.size, unit="vectors") as bar:
            for start in self._starts():
                part = self.wanted[start : start + self.shard_rows]
                target = self._shard_path(start)
                if self.direct or not part_done(target):
                    vectors = self._block(start, part)
                    if not self.direct:
                        write_part(target, unit_rows(vectors) if self.normalize else vectors)
                bar.update(part.size)

    def shards(self) -> tuple[npt.NDArray[np.float32], ...]:
        """float32 [at most shard_rows, D] each: views of the file, or maps of the cache."""
        if self.direct:
            return tuple(self.source[s : s + self.shard_rows] for s in self._starts())
        return tuple(read_array(self._shard_path(start)) for start in self._starts())

    def _block(self, start: int, part: I64) -> F32:
        raw = self.source[start : start + part.size] if self.direct else self.source[part]
        vectors = np.ascontiguousarray(raw, dtype=np.float32)
        bad = bad_rows(vectors)
        if bad.size:
            raise PyriteError(
                f"{self.path}: row {int(part[bad[0]])} has NaN or infinity ({bad.size} of the"
                f" {part.size} rows around it); every number must be finite, so compute it again"
            )
        return vectors

    def _starts(self) -> range:
        return range(0, self.wanted.size, self.shard_rows)

    def _shard_path(self, start: int) -> Path:
        return self.folder / f"emb-{start // self.shard_rows:05d}.npy"


def _open(path: Path) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise PyriteError(
            f"{path}: no such file; set encoder.precomputed.corpus and .queries to .npy files"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise PyriteError(f"{path}: not a readable .npy array; write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise PyriteError(f"{path}: an archive of arrays; write one array with numpy.save")
    if array.dtype.kind != "f" or array.dtype.itemsize not in {2, 4}:
        raise PyriteError(
            f"{path}: dtype {array.dtype}, expected float32 or float16; convert it with .astype"
        )
    if array.ndim != 2 or not array.shape[1]:
        raise PyriteError(f"{path}: shape {array.shape}, expected [rows, D] with D of 1 or more")
    return array


def _usable(source: Array) -> bool:
    return source.dtype == np.float32 and source.dtype.isnative and source.flags.c_contiguous


def _aligned(source: Array, path: Path, table: TextTable, ids: Path | None) -> I64 | None:
    """File row of each table row, int64 [N]; None where row i belongs to row i."""
    if ids is None:
        if len(source) != len(table):
            raise PyriteError(
                f"{path}: {len(source)} rows for the {len(table)} texts of {table.where};"
                " compute the missing ones or give the rows' ids (encoder.precomputed.corpus_ids"
                " or .queries_ids)"
            )
        return None
    names = _read_ids(ids)
    if len(names) != len(source):
        raise PyriteError(
            f"{ids}: {len(names)} ids for the {len(source)} rows of {path}; one id for each row"
        )
    asked = table.id_strings(slice(0, len(table)))
    at = IdIndex.build(names, str(ids)).find(asked)
    missing = np.flatnonzero(at < 0)
    if missing.size:
        raise PyriteError(
            f"{ids}: no vector for id {asked[int(missing[0])]!r} of {table.where}"
            f" ({missing.size} such ids); every text needs one"
        )
    same = len(source) == at.size and bool((at == np.arange(at.size)).all())
    return None if same else at


def _read_ids(path: Path) -> Sequence[str]:
    if path.suffix != ".npy":
        try:
            # not splitlines: an id may hold a separator that only Unicode calls a line end
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise PyriteError(f"{path}: not readable as UTF-8 text, one id a line") from error
        return lines[:-1] if lines[-1] == "" else lines
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PyriteError(
            f"{path}: not a readable .npy of strings; save it with dtype str, not object"
        ) from error
    if array.dtype.kind != "U" or array.ndim != 1:
        raise PyriteError(f"{path}: dtype {array.dtype}, shape {array.shape}; expected strings [M]")
    return [str(name) for name in array]


class PrecomputedEncoder:
    """Stands where an `Encoder` is asked for; gives its vectors by table, and encodes no text."""

    def __init__(self, config: EncoderConfig) -> None:
        """Opens the files; raises PyriteError if one is missing or their dimensions differ."""
        section = config.precomputed
        self._normalize = config.normalize
        self._files: dict[Role, Path] = {
            "document": _named("corpus", section.corpus),
            "query": _named("queries", section.queries),
        }
        self._ids: dict[Role, Path | None] = {
            "document": None if section.corpus_ids is None else Path(section.corpus_ids),
            "query": None if section.queries_ids is None else Path(section.queries_ids),
        }
        corpus, queries = (_open(self._files[role]) for role in ("document", "query"))
        if corpus.shape[1] != queries.shape[1]:
            raise PyriteError(
                f"{self._files['query']}: vectors of {queries.shape[1]} numbers, but those of"
                f" {self._files['document']} have {corpus.shape[1]}; use one model for both"
            )
        self._dimension = int(corpus.shape[1])

    @property
    def dimension(self) -> int:
        return self._dimension

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the bytes of all files, and of `normalize`."""
        files = [*self._files.values(), *(path for path in self._ids.values() if path is not None)]
        return digest_json(
            {
                "kind": "precomputed",
                "normalize": self._normalize,
                "ids": [self._ids["document"] is not None, self._ids["query"] is not None],
                "files": [digest_file(path) for path in files],
            }
        )

    def embeddings(
        self, table: TextTable, role: Role, cache: Path, rows: I64 | None = None
    ) -> Embeddings:
        """Vectors of `rows` of a table (all by default), by `precomputed_embeddings`."""
        return precomputed_embeddings(
            self._files[role], table, self._ids[role], self._normalize, cache, rows
        )

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        raise self._no_texts()

    def encode_queries(self, texts: Sequence[str]) -> F32:
        raise self._no_texts()

    def encode_documents(self, texts: Sequence[str]) -> F32:
        raise self._no_texts()

    def _no_texts(self) -> PyriteError:
        return PyriteError(
            "encoder.kind=precomputed has vectors and no model, so it cannot encode texts;"
            " set encoder.kind to one that can"
        )


def _named(key: str, path: str | None) -> Path:
    if path is None:
        raise PyriteError(
            f"encoder.kind=precomputed needs encoder.precomputed.{key}, an .npy file of vectors"
        )
    return Path(path)

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
from ..embeddings import DEFAULT_LAYOUT, Embeddings, StoreLayout
from ..encoder import F32, Role
from ..errors import PyriteError
from ..ids import I64, IdIndex
from ..progress import progress
from ..store import (
    Manifest,
    discard,
    join_arrays,
    part_done,
    read_array,
    remove_parts,
    write_part,
)
from ..tables import TextTable
from .common import bad_rows, unit_rows

if TYPE_CHECKING:
    from ..progress import Progress
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
    layout: StoreLayout = DEFAULT_LAYOUT,
) -> Embeddings:
    """Vectors of `rows` of a table (all by default) from an `.npy` [M, D] of float32 or float16.

    Row i of the file belongs to row i of the table, or to the i-th of `ids` (a `.txt` with one id
    a line, or an `.npy` of strings); a file with ids may have rows that the table does not ask
    for. The file is mapped as it is where it can be: C order, the machine's byte order, same
    rows, `normalize` off. Otherwise it is copied into the cache in the number type of `layout`,
    one part in memory at a time; a kill loses at most the part in flight.

    Raises PyriteError for an unreadable file, another dtype or shape, a row count or an id that
    does not fit the table, NaN or infinity. The values are read once for each content of the
    file; its bytes are digested at every call.
    """
    source = _open(path)
    at = _aligned(source, path, table, ids)
    if rows is not None:
        at = rows if at is None else at[rows]
    key = _key(path, table, ids, normalize, rows, layout)
    folder = cache / "embeddings" / key
    wanted = np.arange(len(table)) if at is None else at
    job = _Job(path, source, wanted, normalize, folder, layout)
    direct = at is None and not normalize and source.dtype.isnative and source.flags.c_contiguous
    manifest = Manifest.read(folder)
    if manifest is not None and not manifest.intact(folder):
        discard(folder)
        manifest = None
    if manifest is None:
        job.check() if direct else job.copy()
        Manifest.write(
            folder,
            schema=SCHEMA,
            kind="embeddings",
            encoder="precomputed",
            texts=table.digest,
            counts={"rows": int(wanted.size)},
            dimension=int(source.shape[1]),
            mapped=direct,
        )
    remove_parts(folder)
    if direct:
        return Embeddings((source,), max(len(source), 1), key)
    return Embeddings(job.shards(), layout.part_rows * layout.shard_parts, key)


def _key(
    path: Path,
    table: TextTable,
    ids: Path | None,
    normalize: bool,
    rows: I64 | None,
    layout: StoreLayout,
) -> str:
    return digest_json(
        {
            "schema": SCHEMA,
            "kind": "precomputed",
            "file": digest_file(path),
            "ids": None if ids is None else digest_file(ids),
            "texts": table.digest,
            "rows": None if rows is None else rows.tolist(),
            "normalize": normalize,
            "layout": [layout.dtype, layout.part_rows, layout.shard_parts],
        }
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """Rows `wanted` [n] of `source` [M, D]: checked where they are, or copied to `folder`."""

    path: Path
    source: Array
    wanted: I64
    normalize: bool
    folder: Path
    layout: StoreLayout

    def check(self) -> None:
        """Read all of the source, part by part; raises PyriteError if a value is not finite."""
        with self._progress() as bar:
            for start in self._starts():
                part = np.asarray(self.source[start : start + self.layout.part_rows])
                self._check(part, self.wanted[start : start + len(part)])
                bar.update(len(part))

    def copy(self) -> None:
        """Write the parts that are not there yet, then the shards."""
        with self._progress() as bar:
            for start in self._starts():
                rows = self.wanted[start : start + self.layout.part_rows]
                if not part_done(self._part(start)):
                    vectors = self.source[rows].astype(np.float32)
                    self._check(vectors, rows)
                    vectors = unit_rows(vectors) if self.normalize else vectors
                    with np.errstate(over="ignore"):  # infinity is reported
                        stored = vectors.astype(self.layout.dtype)
                    self._check(stored, rows)
                    write_part(self._part(start), stored)
                bar.update(rows.size)
        step = self._shard_rows()
        for number, path in enumerate(self._shard_paths()):
            inside = [self._part(s) for s in self._starts() if s // step == number]
            shape = (min(step, self.wanted.size - number * step), self.source.shape[1])
            join_arrays(inside, path, self.layout.dtype, shape)

    def shards(self) -> tuple[Array, ...]:
        """The copied shards, mapped; [at most part_rows * shard_parts, D] each."""
        return tuple(read_array(path) for path in self._shard_paths())

    def _check(self, vectors: Array, rows: I64) -> None:
        bad = bad_rows(vectors)
        if bad.size:
            raise PyriteError(
                f"{self.path}: row {int(rows[bad[0]])} has NaN or infinity in {vectors.dtype}"
                f" ({bad.size} of the {rows.size} rows read with it); every number must be finite"
            )

    def _progress(self) -> Progress:
        return progress(f"read {self.path.name}", total=self.wanted.size, unit="vectors")

    def _starts(self) -> range:
        return range(0, self.wanted.size, self.layout.part_rows)

    def _part(self, start: int) -> Path:
        return self.folder / f"part-{start:010d}.npy"

    def _shard_rows(self) -> int:
        return self.layout.part_rows * self.layout.shard_parts

    def _shard_paths(self) -> list[Path]:
        count = -(-self.wanted.size // self._shard_rows())
        return [self.folder / f"emb-{number:05d}.npy" for number in range(count)]


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
        self,
        table: TextTable,
        role: Role,
        cache: Path,
        rows: I64 | None = None,
        layout: StoreLayout = DEFAULT_LAYOUT,
    ) -> Embeddings:
        """Vectors of `rows` of a table (all by default), by `precomputed_embeddings`."""
        return precomputed_embeddings(
            self._files[role], table, self._ids[role], self._normalize, cache, rows, layout
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

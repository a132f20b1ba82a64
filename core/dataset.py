"""Which dataset a run uses, and how it is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from . import stdlib_dataset
from .beir import Dataset, OnEmpty, open_beir
from .beir_names import find_folder
from .config import Section
from .digest import digest_json, u64_array
from .errors import PyriteError
from .store import Manifest, read_array, write_array
from .tables import TextTable
from .text import normalise
from .used import only

EMBEDDED = "stdlib"
CORPUS = "corpus.jsonl"
SPLIT = r"^[^/\\]+$"  # a split names a file of the folder, never a path
_BLOCK = 8192


class DatasetConfig(Section):
    """Where the corpus, the queries and the judgements come from."""

    path: str = Field(
        EMBEDDED,
        description="`stdlib` (built here), a BEIR folder, the name of one of BEIR's,"
        " hf://datasets/OWNER/NAME, or a folder of such tables",
    )
    max_documents: int | None = Field(None, ge=10, description="`stdlib` only: whole files up to")
    train_split: str = Field(
        "train", pattern=SPLIT, description="qrels/<split>.tsv that is mined for and trained on"
    )
    eval_split: str = Field("test", pattern=SPLIT, description="the one that is measured on")
    min_grade: int = Field(1, ge=1, description="a judgement of this grade or more is a positive")
    on_empty: OnEmpty = Field("error", description="what to do with a document without text")
    qrels: list[str] = Field(
        [], description="further BEIR tsv files with judgements of the mined queries; mining only"
    )

    USED = (only("max_documents", "path", EMBEDDED),)


def open_dataset(config: DatasetConfig, cache: Path) -> Dataset:
    """Open the configured dataset, building the embedded one or fetching BEIR's if need be."""
    if config.path != EMBEDDED:
        if config.max_documents is not None:
            raise PyriteError(
                f"dataset.max_documents={config.max_documents} applies to dataset.path=stdlib only;"
                " remove it or cut the BEIR folder down"
            )
        return open_beir(find_folder(config.path, cache), cache, config.on_empty)
    key = digest_json({"schema": stdlib_dataset.SCHEMA, "max": config.max_documents})
    folder = cache / "datasets" / f"stdlib-{key[:12]}"
    stdlib_dataset.build(folder, config.max_documents)
    return open_beir(folder, cache, config.on_empty)


def members(path: str, cache: Path) -> dict[str, str]:
    """The datasets of `path` by their names below it: of a folder of BEIR folders several.

    One dataset is `{"": path}`. CQADupStack is such a folder of twelve.
    """
    if path == EMBEDDED:
        return {"": path}
    folder = find_folder(path, cache)
    if (folder / CORPUS).is_file() or not folder.is_dir():
        return {"": path}
    inner = sorted(p.parent for p in folder.glob(f"*/{CORPUS}"))
    return {p.name: str(p) for p in inner} or {"": path}


def text_hashes(table: TextTable, cache: Path) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row's normalised text, uint64 [N], computed once per table.

    Equal hashes are taken for equal texts: among five million texts the chance that any two
    different ones collide is below one in a million.
    """
    folder = cache / "text-hashes" / table.digest
    path = folder / "hashes.npy"
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.intact(folder):
        hashes = np.empty(len(table), dtype=np.uint64)
        for start in range(0, len(table), _BLOCK):
            texts = table.texts(slice(start, start + _BLOCK))
            hashes[start : start + len(texts)] = u64_array([normalise(t) for t in texts])
        write_array(path, hashes)
        Manifest.write(folder, schema=1, kind="text-hashes", rows=len(table))
    return read_array(path)

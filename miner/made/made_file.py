"""The artefact of a run: texts by id, and which anchor has which; read by training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from ...core.digest import digest_file, digest_texts, u64
from ...core.errors import PyriteError
from ...core.ids import I64
from ...core.store import Manifest
from ...core.tables import TextTable, write_texts

FOLDER = "made"
MADE, TEXTS = "made.jsonl", "texts.arrow"
KIND, SCHEMA = "made", 1
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class MadeTexts:
    """Made texts, and pairs int64 [P] of rows: of a dataset's queries, and of `table`.

    Pairs are in the order of the anchors' ids; `key` is a digest of all that the file holds.
    """

    table: TextTable
    queries: I64
    rows: I64
    key: str


def write_made_texts(folder: Path) -> int:
    """Write the texts of the folder's `made.jsonl`, each once; returns their number."""

    def texts() -> Iterator[tuple[str, str]]:
        seen: set[int] = set()
        for record in _records(folder / MADE):
            key = u64(record["id"])
            if key not in seen:
                seen.add(key)
                yield record["id"], record["text"]

    return write_texts(folder / TEXTS, texts())


def anchors_digest(folder: Path, queries: TextTable) -> str:
    """Digest of ids and texts of the anchors in the folder's `made.jsonl`; `queries` has them."""
    names = [name for name, _ in groupby(r["anchor"] for r in _records(folder / MADE))]

    def parts() -> Iterator[str]:
        for start in range(0, len(names), _BLOCK):
            some = names[start : start + _BLOCK]
            for pair in zip(some, queries.texts(queries.ids.find(some)), strict=True):
                yield from pair

    return digest_texts(parts())


def made_key(folder: Path, knob: str) -> str:
    """What identifies a finished run's texts. Raises PyriteError if there are none."""
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("kind") != KIND:
        raise PyriteError(
            f"{knob}={folder}: no finished run of made negatives; name the folder `{FOLDER}` that"
            " pyrite make has written"
        )
    if manifest.data.get("schema") != SCHEMA or not manifest.intact(folder):
        raise PyriteError(
            f"{knob}={folder}: made by another version or damaged; run pyrite make again, which"
            " pays for nothing twice"
        )
    return digest_file(folder / MADE)


def open_made(folder: Path, queries: TextTable, corpus: TextTable, knob: str) -> MadeTexts:
    """The texts for `queries`, which must be the very queries that they were made for.

    Errors name the key `knob`. Raises PyriteError as `made_key`, for texts of other queries, and if
    an id of theirs is one of the corpus.
    """
    key = made_key(folder, knob)
    table = TextTable.open(folder / TEXTS, key, str(folder / TEXTS))
    anchors, names = [], []
    for record in _records(folder / MADE):
        anchors.append(record["anchor"])
        names.append(record["id"])
    found = queries.ids.find(anchors)
    if (found < 0).any() or anchors_digest(folder, queries) != _made_for(folder):
        raise PyriteError(
            f"{knob}={folder}: made for other queries than those of this dataset; set it to what"
            " was made for this one, or run pyrite make"
        )
    distinct = list(dict.fromkeys(names))
    taken = [distinct[at] for at in np.flatnonzero(corpus.ids.find(distinct) >= 0)]
    if taken:
        raise PyriteError(
            f"{knob}={folder}: the id {taken[0]} stands in the corpus too ({len(taken)} such ids);"
            " made texts must not be part of the corpus, remove them there"
        )
    return MadeTexts(table, found, np.asarray(table.ids.find(names)), key)


def _made_for(folder: Path) -> object:
    manifest = Manifest.read(folder)
    return None if manifest is None else manifest.data["inputs"]["anchors"]


def _records(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as handle:
        for line in handle:
            yield json.loads(line)

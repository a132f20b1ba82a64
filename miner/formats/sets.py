"""Folders with corpus, queries and judgements: BEIR's, MS MARCO's, and the hub's sub-folders.

MTEB and NanoBEIR keep each table in a folder of its own, in parquet or JSON lines, perhaps in
several shards, perhaps as `X-corpus`, `X-queries`, `X-qrels`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import PyriteError
from .judgements import Judgement, judgements
from .packed import plain_suffix

MARCO = "MS MARCO"
_TEXTS = (".jsonl", ".parquet")
_JUDGED = (*_TEXTS, ".tsv")
_QRELS = ("qrels", "default", "data")
_SHARD = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True, slots=True)
class SetFolder:
    """The files of a set, shards in order; `qrels` maps a split to its files."""

    folder: Path
    name: str
    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    qrels: dict[str, tuple[Path, ...]]

    @classmethod
    def find(cls, folder: Path) -> SetFolder:
        """What there is of a set; every part may be missing.

        Raises PyriteError if the folder holds several sets.
        """
        prefix = _prefix(folder)
        if table_files(folder, "collection", (".tsv",)):
            return cls._marco(folder)
        corpus, queries = (table_files(folder, prefix + name) for name in ("corpus", "queries"))
        homes = (folder / f"{prefix}{name}" for name in _QRELS)
        home = next((home for home in homes if home.is_dir()), None)
        qrels: dict[str, tuple[Path, ...]] = {}
        for path in _files(home, _JUDGED) if home else ():
            split = split_of(path)
            qrels[split] = (*qrels.get(split, ()), path)
        packed = any(path.parent != folder for path in (*corpus, *queries))
        return cls(folder, "MTEB" if packed else "BEIR", corpus, queries, qrels)

    @classmethod
    def _marco(cls, folder: Path) -> SetFolder:
        """MS MARCO's `collection.tsv`, `queries.<split>.tsv`, `qrels.<split>.tsv`."""
        found = {
            name: [p for p in _files(folder, (".tsv",)) if p.name.startswith(f"{name}.")]
            for name in ("queries", "qrels")
        }
        qrels: dict[str, tuple[Path, ...]] = {}
        for path in found["qrels"]:
            qrels[split_of(path).partition(".")[2]] = (path,)
        corpus = table_files(folder, "collection", (".tsv",))
        return cls(folder, MARCO, corpus, tuple(found["queries"]), qrels)

    @property
    def tabbed(self) -> bool:
        """Whether lines of judgements have BEIR's three fields with tabs between."""
        return self.name != MARCO

    def judged(self, split: str) -> tuple[Path, ...]:
        """The files of a split's judgements; raises PyriteError if there is no such split."""
        if split not in self.qrels:
            missing = self.folder / "qrels" / f"{split}.tsv"
            found = ", ".join(sorted(self.qrels)) or "none"
            raise PyriteError(f"{missing}: no such split; the folder has {found}; set --split")
        return self.qrels[split]

    def judgements(self, split: str) -> Iterator[Judgement]:
        """Judgements of a split in file order."""
        for path in self.judged(split):
            yield from judgements(path, tabbed=self.tabbed)

    def texts_of(self, split: str, tables: Sequence[Path]) -> tuple[Path, ...]:
        """Those of a table's files that belong to a split; all where none is named after it."""
        own = tuple(path for path in tables if split_of(path) == split)
        return own or tuple(tables)


def split_of(path: Path) -> str:
    """`test` of `test.tsv`, `test.jsonl.gz` and `test-00000-of-00002.parquet`."""
    name = path.name[: path.name.lower().rindex(plain_suffix(path))]
    return _SHARD.sub("", name)


def _prefix(folder: Path) -> str:
    if table_files(folder, "corpus"):
        return ""
    found = sorted(path.name for path in folder.glob("*-corpus") if path.is_dir())
    if len(found) > 1:
        raise PyriteError(
            f"{folder}: several sets, {', '.join(found)}; put the one to read, with its queries and"
            " qrels, into a folder of its own"
        )
    return found[0].removesuffix("corpus") if found else ""


def table_files(folder: Path, name: str, suffixes: Sequence[str] = _TEXTS) -> tuple[Path, ...]:
    """One file of a table, or the shards in the folder of that name."""
    flat = (folder / f"{name}{suffix}{p}" for suffix in suffixes for p in ("", ".gz", ".zst"))
    found = next((path for path in flat if path.is_file()), None)
    return (found,) if found else _files(folder / name, suffixes)


def _files(folder: Path, suffixes: Sequence[str]) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    paths = (path for path in folder.iterdir() if path.is_file())
    return tuple(sorted(path for path in paths if plain_suffix(path) in suffixes))

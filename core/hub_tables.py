"""Tables of a judged set as Hugging Face datasets: on the hub, saved to disk, or as files.

Each opens as records by split. BEIR keeps its judgements in a repository beside; MTEB and NanoBEIR
keep all tables in one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PyriteError
from .hub import offline_if_unreachable

logger = logging.getLogger(__name__)

SCHEME = "hf://datasets/"
Record = dict[str, Any]
Splits = Mapping[str, Iterable[Record]]
QRELS = ("qrels", "default", "data")
_BESIDE = "-qrels"
_SAVED = ("dataset_info.json", "dataset_dict.json")
_FILES = {".parquet": "parquet", ".jsonl": "json"}
_SHARD = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True)
class Tables:
    """Tables by name; `where` is what errors call them."""

    where: str
    names: tuple[str, ...]
    open: Callable[[str], Splits]

    def prefix(self, part: str | None) -> str:
        """What stands before `corpus` and `queries`: "" or that of a part, as `X-`.

        Raises PyriteError if there are several parts and none is named, or no tables of a set.
        """
        found = [n.removesuffix("corpus") for n in self.names if n.endswith("corpus")]
        found = [prefix for prefix in found if f"{prefix}queries" in self.names]
        if part is not None and f"{part}-" in found:
            return f"{part}-"
        if "" in found or len(found) == 1:
            return "" if "" in found else found[0]
        if found:
            parts = ", ".join(sorted(prefix.removesuffix("-") for prefix in found))
            raise PyriteError(f"{self.where}: several sets, {parts}; name one as {self.where}/NAME")
        raise PyriteError(
            f"{self.where}: no judged set, which has the tables corpus, queries and qrels; found"
            f" {', '.join(self.names) or 'none'}"
        )

    @property
    def is_set(self) -> bool:
        """Whether there are documents and queries."""
        return any(
            f"{name.removesuffix('corpus')}queries" in self.names
            for name in self.names
            if name.endswith("corpus")
        )

    def judgements(self, prefix: str) -> str:
        """The name of the table of judgements; raises PyriteError if there is none."""
        found = next((prefix + name for name in QRELS if prefix + name in self.names), None)
        if found is None:
            raise PyriteError(f"{self.where}: no table of judgements, {prefix}qrels; name another")
        return found

    def say_unread(self, read: set[str], prefix: str) -> None:
        """Log the other tables of the set, such as MTEB's `top_ranked` and `instruction`."""
        others = [n for n in self.names if n not in read and n.startswith(prefix)]
        if others:
            logger.warning("%s: not read: %s", self.where, ", ".join(others))


def hub_tables(name: str) -> Tables:
    """The tables of a repository, streamed; raises PyriteError if the hub cannot be reached."""
    import datasets

    offline_if_unreachable()
    where = f"{SCHEME}{name}"
    names = tuple(_asked(where, lambda: datasets.get_dataset_config_names(name)))
    alone = not set(names) & set(QRELS) and not any(n.endswith("-qrels") for n in names)

    def open_table(table: str) -> Splits:
        beside = alone and table == QRELS[0]
        repository, config = (f"{name}{_BESIDE}", None) if beside else (name, table)
        load = datasets.load_dataset
        return dict(_asked(where, lambda: load(repository, config, streaming=True)))

    return Tables(where, (*names, QRELS[0]) if alone else names, open_table)


def _asked(where: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    # clients and parsers of every kind: what they say is all there is to say
    except Exception as error:
        raise unreadable(where, error) from error


def unreadable(where: str, error: Exception) -> PyriteError:
    """The one sentence about a table that cannot be had."""
    detail = " ".join(str(error).split())[:300] or type(error).__name__
    local = (
        "; without the hub, name a local folder with the tables corpus, queries and qrels, as"
        " parquet, as JSON lines or as Dataset.save_to_disk wrote them, or a BEIR folder"
    )
    kind = "not readable as a Hugging Face dataset"
    return PyriteError(f"{where}: {kind} ({detail}){local if where.startswith(SCHEME) else ''}")


def folder_tables(folder: Path) -> Tables | None:
    """The tables in the sub-folders of a folder, as files or saved to disk; None if none are."""
    found: dict[str, Callable[[], Splits]] = {}
    for home in sorted(p for p in folder.iterdir() if p.is_dir()):
        if any((home / name).is_file() for name in _SAVED):
            found[home.name] = lambda home=home: _saved(home)  # type: ignore[misc]
        elif shards := _shards(home):
            found[home.name] = lambda shards=shards: _streamed(folder, shards)  # type: ignore[misc]
    tables = Tables(str(folder), tuple(found), lambda name: found[name]())
    return tables if tables.is_set else None


def _saved(home: Path) -> Splits:
    import datasets

    loaded = _asked(str(home), lambda: datasets.load_from_disk(str(home)))
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}


def _shards(home: Path) -> dict[str, list[Path]]:
    """Files by split: `test` of `test-00000-of-00002.parquet`."""
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in home.iterdir() if p.suffix in _FILES):
        found.setdefault(_SHARD.sub("", path.stem), []).append(path)
    return found


def _streamed(folder: Path, shards: dict[str, list[Path]]) -> Splits:
    import datasets

    kinds = {path.suffix for paths in shards.values() for path in paths}
    if len(kinds) > 1:
        raise PyriteError(f"{folder}: a table in files of several kinds; keep one of them")
    files = {split: [str(path) for path in paths] for split, paths in shards.items()}
    load = datasets.load_dataset
    kind = _FILES[kinds.pop()]
    return dict(_asked(str(folder), lambda: load(kind, data_files=files, streaming=True)))


def records(tables: Tables, name: str, only: str | None) -> Iterator[tuple[str, Record]]:
    """Records of a table with their places, split after split, or of one split alone.

    Raises PyriteError for what cannot be read on the way.
    """
    for split, rows in tables.open(name).items():
        if only is None or split == only:
            try:
                for at, record in enumerate(rows, start=1):
                    yield f"{tables.where}: {name}, {split}, row {at}", record
            except PyriteError:
                raise
            except Exception as error:
                raise unreadable(tables.where, error) from error

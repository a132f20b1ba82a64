"""Rows of a Hugging Face dataset: on this machine, or streamed from the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...core.errors import PyriteError
from ..training_row import Record
from .layouts import Layout

_SAVED = ("dataset_info.json", "dataset_dict.json")


@dataclass(frozen=True)
class HubRows(Layout):
    """A split whose rows are iterated, never held; every reading begins anew."""

    open: Callable[[], Iterable[Record]]
    kind = "a Hugging Face dataset"

    def read(self, path: Path) -> Iterator[tuple[int, Record]]:
        try:
            yield from enumerate(self.open(), start=1)
        except PyriteError:
            raise
        # parsers and clients of every kind: what they say is all there is to say
        except Exception as error:
            raise _unread(path, error) from error

    def write(self, handle: IO[bytes], records: Iterable[Record], out: Path, like: Path) -> None:
        raise PyriteError(f"{like}: {self.kind} is not rewritten; use pyrite convert")


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote the folder."""
    return any((folder / name).is_file() for name in _SAVED)


def saved_rows(folder: Path, split: str) -> HubRows:
    """The rows that `save_to_disk` wrote, mapped; raises PyriteError if there is no such split."""
    import datasets

    try:
        found: Any = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise _unread(folder, error) from error
    if isinstance(found, datasets.DatasetDict):
        found = _split_of(dict(found), split, folder)
    return HubRows(lambda: found)


def folder_rows(folder: Path, split: str) -> HubRows:
    """The rows of parquet, JSON or CSV files that `datasets.load_dataset` finds in a folder."""
    return _streamed(str(folder), None, split, folder)


def hub_rows(name: str, config: str | None, split: str) -> HubRows:
    """The rows of a data set of the hub, streamed; raises PyriteError if it cannot be reached."""
    return _streamed(name, config, split, Path(name))


def _streamed(name: str, config: str | None, split: str, where: Path) -> HubRows:
    import datasets

    try:
        found = datasets.load_dataset(name, config, streaming=True)
    except Exception as error:
        raise _unread(where, error) from error
    return HubRows(lambda: _split_of(dict(found), split, where))


def _split_of(found: dict[str, Any], split: str, where: Path) -> Any:
    if split in found:
        return found[split]
    names = ", ".join(sorted(found))
    raise PyriteError(f"{where}: no split {split!r}; the data set has {names}; set --split")


def _unread(path: Path, error: Exception) -> PyriteError:
    detail = " ".join(str(error).split())[:300] or type(error).__name__
    local = (
        ""
        if path.exists()
        else (
            "; without the hub, name a local folder: one of parquet or JSON files, or what"
            " Dataset.save_to_disk wrote"
        )
    )
    return PyriteError(f"{path}: not readable as a Hugging Face dataset ({detail}){local}")

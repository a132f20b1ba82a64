"""What is converted: rows of a file, of a run, of a Hugging Face dataset, or of a judged set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ...core.hub_tables import SCHEME
from ..formats.by_id import IdFormat
from ..formats.hub_rows import folder_rows, hub_rows, is_saved, saved_rows
from ..formats.layouts import Layout, Shards
from ..formats.registry import open_format
from ..formats.sets import SetFolder, table_files
from ..formats.sources import Sources
from ..training_file import TrainingFile, holds_rows, open_training_file
from ..training_row import TrainingRow
from .set_rows import set_rows

_ROWS = (".jsonl", ".json", ".parquet", ".tsv")
_MAINS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("train", "rows", "qidpidtriples.train", "triples.train"), _ROWS),
    "top1000.train": (".tsv",),
    "hard": (".json",),
    "ann_training_data_0": ("",),
    **dict.fromkeys(("run", "negatives"), (".trec",)),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows that can be read again and again, and what was found to hold them.

    `by_id` says that their texts are in files of their own, `judged_outside` that their positives
    are; `file` is there for rows of a file.
    """

    path: Path
    format: str
    read: Callable[[], Iterator[TrainingRow]]
    by_id: bool = False
    judged_outside: bool = False
    file: TrainingFile | None = None

    def sentence(self) -> str:
        """What the input was taken for."""
        return f"{self.path}: read as {self.format}"


def open_rows(
    path: str, sources: Sources, wanted: str | None, config: str | None, split: str
) -> Rows:
    """Rows of a file, a folder or `hf://datasets/OWNER/NAME`; the format is guessed.

    Raises PyriteError if there is nothing of the kind, or for a malformed first row.
    """
    if path.startswith(SCHEME):
        name = path.removeprefix(SCHEME).strip("/")
        return _of_layout(Path(name), hub_rows(name, config, split), sources, wanted)
    place = Path(path)
    if place.is_dir() and not holds_rows(place):
        return _of_folder(place, sources, wanted, split)
    return _of_file(open_training_file(place, replace(sources, titled=True), wanted))


def _of_folder(place: Path, sources: Sources, wanted: str | None, split: str) -> Rows:
    if is_saved(place):
        return _of_layout(place, saved_rows(place, split), sources, wanted)
    main = main_file(place)
    if main is not None:
        return _of_file(open_training_file(main, _beside(place, sources, split), wanted))
    shards = sorted(place.glob("shard-*.jsonl*"))
    if len(shards) == 1:
        return _of_file(open_training_file(shards[0], sources, wanted))
    if shards:
        return _of_layout(place, Shards(tuple(shards)), sources, wanted)
    files = SetFolder.find(place)
    if files.corpus and files.qrels:
        files.judged(split)
        name = f"{files.name}, split {split}"
        return Rows(place, name, lambda: set_rows(files, split, sources.cache), True, True)
    return _of_layout(place, folder_rows(place, split), sources, wanted)


def _of_layout(place: Path, layout: Layout, sources: Sources, wanted: str | None) -> Rows:
    found, _, _ = open_format(place, sources, wanted, layout)
    rows = _of_file(TrainingFile(place, found, layout))
    return replace(rows, format=f"{layout.kind}, {found.name}")


def _of_file(file: TrainingFile) -> Rows:
    by_id = isinstance(file.format, IdFormat)
    pairs = file.format.sides == "either"
    read = (lambda: _joined(file.rows())) if pairs else file.rows
    name = f"{file.layout.kind}, {file.format.name}"
    return Rows(file.path, name, read, by_id, file.format.judged_outside, file)


def _joined(rows: Iterator[TrainingRow]) -> Iterator[TrainingRow]:
    """Neighbouring pairs of one query make one row."""
    for _, group in groupby(rows, key=lambda row: (row.query_id, row.query)):
        first, *others = group
        yield replace(
            first,
            positives=tuple(doc for row in (first, *others) for doc in row.positives),
            negatives=tuple(doc for row in (first, *others) for doc in row.negatives),
        )


def main_file(folder: Path) -> Path | None:
    """The file of rows in a folder that `convert` or `relabel` wrote."""
    for name, suffixes in _MAINS.items():
        found = table_files(folder, name, suffixes)
        if len(found) == 1 and found[0].parent == folder and found[0].stat().st_size:
            return found[0]
    return None


def _beside(folder: Path, sources: Sources, split: str) -> Sources:
    """The texts and judgements that lie in a folder, where the user names no others."""
    files = SetFolder.find(folder)
    corpus: Path | None = folder if files.corpus else None
    documents = table_files(folder, "documents")
    queries = files.queries[0] if len(files.queries) == 1 else None
    corpus = documents[0] if documents else corpus
    judged = [*files.qrels.get(split, ()), *folder.glob("qrels.trec*")]
    return replace(
        sources,
        corpus=sources.corpus or corpus,
        queries=sources.queries or queries,
        qrels=sources.qrels or (judged[0] if judged else None),
    )

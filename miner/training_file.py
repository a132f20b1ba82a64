"""Training files of any known format and kind, read in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ..core.errors import PyriteError
from ..core.store import atomic_write
from .formats.format import Format
from .formats.grouped import Grouped
from .formats.layouts import Layout, Parquet
from .formats.packed import plain_suffix
from .formats.registry import open_format
from .formats.run import RunFormat
from .formats.sets import table_files
from .formats.sources import Sources
from .negatives_file import FILE
from .training_row import Record, TrainingRow

_BLOCK = 128


@dataclass(frozen=True)
class TrainingFile:
    """A file whose format is known; every call of `rows` reads it again."""

    path: Path
    format: Format
    layout: Layout

    def blocks(self) -> Iterator[list[tuple[TrainingRow, Record]]]:
        """Rows with the records they came from, some at a time.

        Raises PyriteError with the line of a fault.
        """
        records = self.layout.read(self.path)
        while block := list(islice(records, _BLOCK)):
            rows = self.format.parse_block(block, self.path)
            yield [(row, record) for (_, record), row in zip(block, rows, strict=True)]

    def entries(self) -> Iterator[tuple[TrainingRow, Record]]:
        """Rows with the records they came from; raises PyriteError with the line of a fault."""
        return (entry for block in self.blocks() for entry in block)

    def rows(self) -> Iterator[TrainingRow]:
        """The rows in file order."""
        return (row for row, _ in self.entries())

    def write(self, out: Path, records: Iterable[Record]) -> None:
        """Write records to `out` atomically in this file's format, packed if it is `.gz` or `.zst`.

        Raises PyriteError if `out` exists or its name is of the other kind of file.
        """
        self.check_out(out)
        with atomic_write(out) as handle:
            self.layout.write(handle, records, out, self.path)

    def check_out(self, out: Path) -> None:
        """Raise PyriteError if `write` would refuse `out`."""
        if out.exists():
            raise PyriteError(f"{out}: exists and is never overwritten; name another file")
        if _is_parquet(self.layout) != (plain_suffix(out) == ".parquet"):
            raise PyriteError(
                f"{out}: {self.path} is {self.layout.kind} and its copy is too; give it the same"
                " suffix"
            )


def _is_parquet(layout: Layout) -> bool:
    return isinstance(layout.inner if isinstance(layout, Grouped) else layout, Parquet)


def open_training_file(
    path: Path, sources: Sources | None = None, wanted: str | None = None
) -> TrainingFile:
    """A training file or the folder of a mining run; the format is guessed from the first record.

    `sources` are the texts of a file that holds ids; `wanted` names the format in place of the
    guess. Raises PyriteError if there is no such file, no row in it, or no format that fits.
    """
    if path.is_dir():
        tables = _jansowa(path)
        if tables is not None:
            return _open_jansowa(path, *tables, sources or Sources())
        for inside in (path / FILE, path / "negatives" / FILE):
            if inside.is_file():
                titled = sources is not None and sources.titled
                return TrainingFile(inside, RunFormat.open(inside, titled), Parquet())
        raise PyriteError(f"{path}: no {FILE} in this folder; name a training file or a run folder")
    if not path.is_file():
        raise PyriteError(f"{path}: no such training file")
    found, layout, _ = open_format(path, sources or Sources(), wanted)
    return TrainingFile(path, found, layout)


def holds_rows(folder: Path) -> bool:
    """Whether a folder is a mining run or jansowa's tables, whatever else lies in it."""
    run = any((folder / name).is_file() for name in (FILE, f"negatives/{FILE}"))
    return run or _jansowa(folder) is not None


def _jansowa(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]] | None:
    """The files of `negatives` and of `relevant`, if both are there."""
    negatives, relevant = (table_files(folder, name) for name in ("negatives", "relevant"))
    return (negatives, relevant) if negatives and relevant else None


def _open_jansowa(
    folder: Path, negatives: tuple[Path, ...], relevant: tuple[Path, ...], sources: Sources
) -> TrainingFile:
    for name, paths in (("negatives", negatives), ("relevant", relevant)):
        if len(paths) > 1:
            raise PyriteError(
                f"{folder / name}: {len(paths)} files, but one is read at a time; join them, or"
                " name one file with --corpus, --queries, --qrels and --format=jansowa"
            )
    named = replace(sources, corpus=sources.corpus or folder, qrels=sources.qrels or relevant[0])
    found, layout, _ = open_format(negatives[0], named, "jansowa")
    return TrainingFile(negatives[0], found, layout)

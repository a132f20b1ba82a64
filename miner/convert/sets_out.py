"""A judged set in the files of another: BEIR, MTEB and MS MARCO, streamed one file at a time.

Memory: a 64-bit hash and a line number of each id, and of each query that a split judges.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ...core.digest import u64
from ..formats.beside import QrelsFile, TextFile, line_of
from ..formats.ledger import Ledger
from ..formats.outputs import OUTPUTS
from ..formats.sets import SetFolder, table_files
from ..formats.texts import NamedText, numbered_texts
from .durable import durable
from .rows_out import Written, open_texts_out
from .source import main_file

_MARCO = "msmarco"
# what MTEB has besides, for reranking and for instructions
_OTHERS = ("top_ranked", "instruction")


def set_to_folder(files: SetFolder, to: str, folder: Path, ledger: Ledger) -> Written:
    """Write corpus, queries and all splits; raises PyriteError with the line of a fault."""
    output, written = OUTPUTS[to], Written()
    assert output.documents
    assert output.queries
    assert output.qrels
    for table in _OTHERS:
        ledger.lose(f"table {table!r}", 1, bool(table_files(files.folder, table)))
    rows = main_file(files.folder)
    if rows is not None and rows.name == output.main:
        with durable(folder / rows.name) as handle, rows.open("rb") as source:
            shutil.copyfileobj(source, handle)
        ledger.make(f"file {rows.name!r} copied as it is")
    elif rows is not None:
        ledger.lose(f"file {rows.name!r}", 1)
    corpus = _Texts(files.corpus, ledger)
    written.rows += corpus.write(folder, output.documents)
    asked = {
        split: _judgements(files, split, folder, output.qrels, ledger) for split in files.qrels
    }
    queries = _Texts(files.queries, ledger)
    if to == _MARCO:
        for split, judged in asked.items():
            file = replace(output.queries, name=f"queries.{split}.tsv")
            queries.write(folder, file, lambda name, judged=judged: u64(name) in judged)  # type: ignore[misc]
        everything = set().union(*asked.values())
        unasked = sum(u64(text.id) not in everything for text in queries)
        ledger.lose("query without a judgement", 1, unasked)
    else:
        written.rows += queries.write(folder, output.queries)
    written.records = written.rows
    return written


class _Texts:
    """The texts of files in turn; an id may stand once."""

    def __init__(self, paths: tuple[Path, ...], ledger: Ledger) -> None:
        self._paths = paths
        self._ledger = ledger

    def __iter__(self) -> Iterator[NamedText]:
        seen: dict[int, tuple[Path, int]] = {}
        for path in self._paths:
            self._ledger.source = str(path)
            for text in numbered_texts(path):
                before = seen.setdefault(u64(text.id), (path, text.line))
                if before != (path, text.line):
                    where = f"{before[0]}:{before[1]}"
                    raise self._ledger.fault(
                        text.line, f"id {text.id!r} stands in {where} too; ids must be unique"
                    )
                yield text

    def write(
        self, folder: Path, file: TextFile, wanted: Callable[[str], bool] | None = None
    ) -> int:
        """Write those whose ids are `wanted`; returns how many."""
        count = 0
        with ExitStack() as stack:
            sink = open_texts_out(folder, file, stack)
            for text in self:
                if wanted is None or wanted(text.id):
                    count += 1
                    sink.write(self._ledger, text)
        return count


def _judgements(
    files: SetFolder, split: str, folder: Path, file: QrelsFile, ledger: Ledger
) -> set[int]:
    """Write a split's judgements; returns hashes of the queries that it judges."""
    asked: set[int] = set()
    with durable(folder / file.name.format(split=split)) as handle:
        if file.header:
            handle.write(line_of({"fields": list(file.header)}))
        ledger.source = str(files.judged(split)[0])
        for row in files.judgements(split):
            asked.add(u64(row.query))
            for name in (row.query, row.document):
                ledger.word(name, "judged", row.line, "" if file.blanks else "\t\n\r")
            handle.write(line_of(file.render(row.query, row.document, row.grade)))
    return asked

"""One file of texts, of judgements or of ranked documents, in another's form: no text is looked up.

Memory: a 64-bit hash of each id of a file of texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ...core.digest import u64
from ...core.errors import PyriteError
from ...core.store import atomic_write
from ..formats.grouped import JsonRun
from ..formats.judgements import judgements
from ..formats.layouts import JsonLines, Layout, Parquet, write_parquet
from ..formats.ledger import Ledger
from ..formats.outputs import JUDGED, TEXTS, layout_for
from ..formats.packed import plain_suffix
from ..formats.registry import layout_of
from ..formats.tabbed_rows import number
from ..formats.text_lines import Questions, Ranked, Tabbed
from ..formats.texts import numbered_texts
from ..training_row import Record
from .rows_out import Written
from .shape import schema_of

_OBJECTS: dict[str, Layout] = {".jsonl": JsonLines(), ".parquet": Parquet()}
_LINES: dict[str, Layout] = {".tsv": Tabbed(), ".txt": Tabbed()}
_QUOTED: dict[str, Layout] = {".csv": Questions()}
_SCORED: dict[str, Layout] = {".json": JsonRun()}
_TREC = 6


def texts_to_file(path: Path, to: str, out: Path, ledger: Ledger) -> Written:
    """Write the texts of `path`; raises PyriteError with the line of an id that stands twice."""
    file, written = TEXTS[to], Written()

    def records() -> Iterator[Record]:
        seen: dict[int, int] = {}
        if file.header:
            yield {"fields": list(file.header)}
        for text in numbered_texts(path):
            first = seen.setdefault(u64(text.id), text.line)
            if text.made:
                ledger.make("id made of its text", first == text.line)
                ledger.make("equal text without an id, merged", first != text.line)
                if first != text.line:
                    continue
            if first != text.line:
                raise ledger.fault(
                    text.line, f"id {text.id!r} stands in line {first} too; ids must be unique"
                )
            written.rows += 1
            yield file.record(ledger, text)

    layouts = _QUOTED if file.quoted else _LINES if file.flat else _OBJECTS
    _write(records, layouts, to, out, ledger)
    written.records = written.rows
    return written


def judgements_to_file(path: Path, to: str, out: Path, ledger: Ledger) -> Written:
    """Write the judgements of `path`, in their order."""
    file, written = JUDGED[to], Written()

    def records() -> Iterator[Record]:
        if file.header:
            yield {"fields": list(file.header)}
        for row in judgements(path):
            written.rows += 1
            for name in (row.query, row.document):
                ledger.word(name, "judged", row.line, "" if file.blanks else "\t\n\r")
            yield file.render(row.query, row.document, row.grade)

    table = to == "mteb-qrels"
    _write(records, _OBJECTS if table else {**_LINES, ".trec": Tabbed()}, to, out, ledger)
    written.records = written.rows
    return written


def run_to_file(path: Path, to: str, out: Path, ledger: Ledger) -> Written:
    """Write the ranked documents of `path` as a TREC run, MS MARCO's, BEIR's, or a ranking."""
    layout, written = layout_of(path), Written()
    if not isinstance(layout, Ranked | JsonRun):
        raise PyriteError(
            f"{path}: {layout.kind}, but --to {to} takes ranked lines or rows with negatives"
        )

    def records() -> Iterator[Record]:
        for line, record in layout.read(path):
            written.rows += 1
            lines = _ranked(record, layout.width == _TREC, line, to, ledger)
            yield {"query_id": record["query_id"], "lines": lines}

    width = Ranked(_TREC if to == "trec" else 3)
    suffixes = (".trec", ".run", ".res", ".txt", ".tsv")
    lines: dict[str, Layout] = dict.fromkeys(suffixes, width)
    _write(records, _SCORED if to == "beir-run" else lines, to, out, ledger)
    written.records = written.rows
    return written


def _ranked(record: Record, trec: bool, line: int, to: str, ledger: Ledger) -> list[list[str]]:
    query, made = record["query_id"], []
    lines = record["lines"]
    # MS MARCO's third column counts; a score may be any number
    counts = not trec and [f[2] for f in lines] == [str(r) for r in range(1, len(lines) + 1)]
    for rank, fields in enumerate(lines, start=1):
        name = fields[2 if trec else 1]
        score = fields[4] if trec else fields[2]
        number(score, f"{ledger.source}:{line}")
        if to == "marco-run":
            ledger.lose("score", line, not counts)
            made.append([query, name, str(rank)])
            continue
        if counts:
            ledger.make("score of a run, made of the rank")
            score = repr(1.0 / rank)
        if to == "trec":
            made.append([query, "Q0", name, str(rank), score, fields[5] if trec else "pyrite"])
        else:
            ledger.lose("tag", line, trec)
            made.append([query, name, score])
    if to != "beir-run":
        return made
    once: dict[str, list[str]] = {}
    for fields in made:
        once.setdefault(fields[1], fields)
    ledger.make("document that a query lists twice, merged", len(made) - len(once))
    return list(once.values())


def _write(records: object, layouts: dict[str, Layout], to: str, out: Path, ledger: Ledger) -> None:
    assert callable(records)
    layout = layout_for(layouts, plain_suffix(out), to, str(out))
    with atomic_write(out) as handle:
        if isinstance(layout, Parquet):
            kept = ledger.lost.copy(), ledger.made.copy()
            schema = schema_of(records(), pa.schema([]), to)
            # the first reading was for the columns alone
            ledger.lost, ledger.made = kept
            write_parquet(handle, records(), schema)
        else:
            layout.write(handle, records(), out, out)

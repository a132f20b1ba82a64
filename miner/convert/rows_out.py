"""Training rows written as one file, or as a folder with the texts of their ids beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ...core.errors import PyriteError
from ...core.progress import progress
from ...core.store import atomic_write
from ..formats.beside import TextFile, line_of
from ..formats.joined import JoinedTarget, joined
from ..formats.layouts import JsonObject, Layout, Parquet, write_object, write_parquet
from ..formats.ledger import Ledger
from ..formats.outputs import OUTPUTS, Output, layout_for
from ..formats.packed import plain_suffix
from ..formats.target import Shape, Target
from ..formats.texts_out import TextSink, TextsOut
from ..training_row import Record
from .durable import durable
from .finish import finish
from .shape import schema_of, shape_of
from .source import Rows

# what NeMo's files call the place of their texts
_NAMED = "corpus"


@dataclass(slots=True)
class Written:
    """How many rows were read, and how many records came of them."""

    rows: int = 0
    records: int = 0


@dataclass(frozen=True, slots=True)
class RowsOut:
    """A conversion of rows to the format `to`; `split` names the files of judgements."""

    rows: Rows
    to: str
    ledger: Ledger
    shape: Shape
    split: str

    @classmethod
    def of(cls, rows: Rows, to: str, ledger: Ledger, negatives: int | None, split: str) -> RowsOut:
        """Look at all rows first where the format asks for it."""
        target, shape = OUTPUTS[to].target, Shape()
        if target.needs_shape:
            shape = shape_of(rows.read(), negatives, to, every=target.negatives == "one")
        return cls(rows, to, ledger, shape, split)

    @property
    def output(self) -> Output:
        return OUTPUTS[self.to]

    def to_file(self, out: Path) -> Written:
        """Write `out` alone, atomically; texts of ids are left out and counted."""
        layout = layout_for(self.output.layouts, plain_suffix(out), self.to, str(out))
        target = self._target(self.ledger, TextsOut(self.ledger))
        gone = {
            "texts": target.by_id and not self.rows.by_id,
            "positives": target.judged_outside and not self.rows.judged_outside,
        }
        if any(gone.values()):
            what = " and ".join(name for name, is_gone in gone.items() if is_gone)
            self.ledger.lose(f"all {what}, which a folder would hold beside the rows", 1)
        written = Written()
        with atomic_write(out) as handle:
            self._write(handle, layout, target, out, written)
        return written

    def to_folder(self, folder: Path, name: str = "out") -> Written:
        """Write the rows and what lies beside them into an empty folder, to be called `name`."""
        written = Written()
        with ExitStack() as stack:
            texts = self._texts(folder, stack)
            main = folder / self.output.main
            layout = layout_for(self.output.layouts, plain_suffix(main), self.to, str(main))
            handle = stack.enter_context(durable(main))
            self._write(handle, layout, self._target(self.ledger, texts), main, written)
        # nothing can be read of a run without lines
        if not main.stat().st_size:
            main.unlink()
        finish(self.output.target, folder, name)
        return written

    def _target(self, ledger: Ledger, texts: TextsOut) -> Target:
        return self.output.target(ledger, self.shape, texts)

    def _texts(self, folder: Path, stack: ExitStack) -> TextsOut:
        def sink(file: TextFile | None) -> TextSink | None:
            return None if file is None else open_texts_out(folder, file, stack)

        output = self.output
        texts = TextsOut(self.ledger, sink(output.documents), sink(output.queries))
        if output.qrels is not None:
            qrels = output.qrels
            handle = stack.enter_context(durable(folder / qrels.name.format(split=self.split)))
            if qrels.header:
                handle.write(line_of({"fields": list(qrels.header)}))
            texts.judged = lambda *pair: handle.write(line_of(qrels.render(*pair)))
        return texts

    def _write(
        self, handle: IO[bytes], layout: Layout, target: Target, out: Path, written: Written
    ) -> None:
        records = self._records(target, written)
        if isinstance(target, JoinedTarget):
            scratch = out.with_name(f"{out.name}.tmp.sqlite")
            with closing(joined(records, target, scratch, self.ledger)) as found:
                self._written(handle, layout, target, out, found)
        else:
            self._written(handle, layout, target, out, records)
        if not written.records:
            raise PyriteError(
                f"{out}: not written, since no row of {self.rows.path} can be --to {self.to}"
            )

    def _written(
        self,
        handle: IO[bytes],
        layout: Layout,
        target: Target,
        out: Path,
        records: Iterator[Record],
    ) -> None:
        if isinstance(layout, Parquet) and isinstance(target, JoinedTarget):
            write_parquet(handle, records, target.schema())
        elif isinstance(layout, Parquet):
            quiet = replace(
                self.ledger, lost=type(self.ledger.lost)(), made=type(self.ledger.made)()
            )
            dry = self._target(quiet, TextsOut(quiet))
            schema = schema_of(self._records(dry, Written()), dry.schema(), self.to)
            write_parquet(handle, records, schema)
        elif target.before():
            write_object(handle, target.before(), "data", records, out)
        else:
            layout.write(handle, records, out, out)

    def _records(self, target: Target, written: Written) -> Iterator[Record]:
        with progress("convert", total=None, unit="rows") as bar:
            for row in self.rows.read():
                bar.update()
                written.rows += 1
                for record in target.records(row):
                    written.records += 1
                    yield record
        layout = None if self.rows.file is None else self.rows.file.layout
        passed = layout.passed - {_NAMED} if isinstance(layout, JsonObject) else set[str]()
        for name in sorted(passed):
            target.ledger.lose(f"member {name!r} beside the rows", 1)


def open_texts_out(folder: Path, file: TextFile, stack: ExitStack) -> TextSink:
    """An open file of texts with its header."""
    handle = stack.enter_context(durable(folder / file.name))
    if file.header:
        handle.write(line_of({"fields": list(file.header)}))
    return TextSink(handle, file)

"""Texts and judgements beside rows of ids: each written once, under its id or one that is made.

Memory: two 64-bit hashes of each document and of each query, one of each judged pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from ...core.digest import u64
from ..training_row import Doc, TrainingRow
from .beside import TextFile, line_of
from .ledger import Ledger
from .texts import NamedText, made_id

_WORDS = {"d": "document", "q": "query"}


@dataclass(frozen=True, slots=True)
class TextSink:
    """An open file of texts."""

    handle: IO[bytes]
    file: TextFile

    def write(self, ledger: Ledger, text: NamedText) -> None:
        """Write one text; what the file cannot hold of it is counted."""
        self.handle.write(line_of(self.file.record(ledger, text)))


@dataclass(slots=True)
class TextsOut:
    """Where texts and judgements of a conversion go; without any sink it only names ids."""

    ledger: Ledger
    documents: TextSink | None = None
    queries: TextSink | None = None
    judged: Callable[[str, str, int], object] | None = None
    _seen: dict[int, int] = field(default_factory=dict)
    _pairs: set[int] = field(default_factory=set)

    @property
    def ids_alone(self) -> bool:
        """Whether no text is written."""
        return self.documents is None and self.queries is None

    def document(self, doc: Doc, line: int) -> str:
        """The id of a document, whose text is written at the first sight of it.

        Raises PyriteError if another text stands under the id.
        """
        return self._named("d", doc.id, doc.title, doc.text, line, self.documents)

    def query(self, row: TrainingRow) -> str:
        """The id of a row's query, as `document`."""
        return self._named("q", row.query_id, "", row.query, row.line, self.queries)

    def positives(self, row: TrainingRow) -> None:
        """Write the positives of a row as judgements of its query, each pair once."""
        if self.judged is None:
            return
        query = self.query(row)
        for doc in row.positives:
            name = self.document(doc, row.line)
            pair = u64(f"{query}\0{name}")
            if pair not in self._pairs:
                self._pairs.add(pair)
                self.judged(query, name, int(doc.extra.get("grade", 1)))

    def _named(
        self, kind: str, name: str | None, title: str, text: str, line: int, sink: TextSink | None
    ) -> str:
        content = u64(f"{title}\0{text}", salt="text out")
        made = name is None
        name = made_id(kind, title, text) if name is None else name
        if sink is None:
            self.ledger.make(f"{_WORDS[kind]} id made of its text", made)
            return name
        key = u64(name, salt=kind)
        before = self._seen.get(key)
        if before is None:
            self._seen[key] = content
            sink.write(self.ledger, NamedText(line, name, title, text))
            self.ledger.make(f"{_WORDS[kind]} id made of its text", made)
        elif before != content:
            raise self.ledger.fault(
                line,
                f"{_WORDS[kind]} id {name!r} stands for another text than before; ids must be"
                " unique, so rename one",
            )
        elif made:
            self.ledger.make(f"equal {_WORDS[kind]} without an id, merged")
        return name

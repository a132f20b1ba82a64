"""Targets with one place for each query: its documents are joined wherever its rows stood."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from ..training_row import Doc, Record, TrainingRow
from .ledger import Ledger
from .target import Target


class JoinedTarget(Target):
    """Documents listed for a query: the negatives, while the positives are judgements beside.

    A record is one row's list; `joined` makes the records of a query of all its rows.
    """

    query_ids = document_ids = judged_outside = True

    def records(self, row: TrainingRow) -> Iterator[Record]:
        if self.negatives == "some" and not row.negatives:
            self.ledger.lose("row without negatives", row.line)
            return
        self.check_known(row)
        # positives that have no file are lost as a whole, which is said once
        gone = self.judged_outside and self.texts.judged is None
        self.count(replace(row, positives=()) if gone else row, row.negatives)
        self.texts.positives(row)
        yield self.record(row)

    def record(self, row: TrainingRow) -> Record:
        listed = [
            (self.texts.document(doc, row.line), self.entry(doc, row)) for doc in self.listed(row)
        ]
        return {"query_id": self.texts.query(row), "listed": listed}

    def listed(self, row: TrainingRow) -> tuple[Doc, ...]:
        """The documents of a row that stand in the list."""
        return row.negatives

    @abstractmethod
    def entry(self, doc: Doc, row: TrainingRow) -> Any:
        """What the list says of a document besides its id, as a JSON value."""

    def merged(self, first: Any, later: Any) -> Any:
        """What is said of a document that a query lists twice."""
        return first

    @abstractmethod
    def of_query(self, query: str, entries: dict[str, Any]) -> Iterator[Record]:
        """The records of a query, from what is said of each of its documents."""

    def count_positive_scores(self, row: TrainingRow) -> None:
        """Count scores of positives, which have no place beside a judgement."""
        good = sum(doc.score is not None for doc in row.positives)
        self.ledger.lose("score of a positive", row.line, good)


def joined(
    records: Iterable[Record], target: JoinedTarget, scratch: Path, ledger: Ledger
) -> Generator[Record, None, None]:
    """The records of all queries in the order of their first rows, joined in a file on disk.

    Documents keep the order of the rows; one that stands twice counts once.
    """
    try:
        with contextlib.closing(sqlite3.connect(scratch)) as store:
            yield from _grouped(store, records, target, ledger)
    finally:
        scratch.unlink(missing_ok=True)


def _grouped(
    store: sqlite3.Connection, records: Iterable[Record], target: JoinedTarget, ledger: Ledger
) -> Iterator[Record]:
    store.execute("PRAGMA synchronous=OFF")
    store.execute("CREATE TABLE q (at INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    store.execute("CREATE TABLE d (q INTEGER, at INTEGER, name TEXT, entry TEXT)")
    _fill(store, records)
    store.execute("CREATE INDEX by_query ON d (q, at)")
    select = "SELECT q.name, d.name, d.entry FROM q LEFT JOIN d ON d.q = q.at ORDER BY q.at, d.at"
    for query, group in groupby(store.execute(select), key=itemgetter(0)):
        entries: dict[str, Any] = {}
        twice = 0
        for _, name, entry in group:
            if name is None:
                continue
            found = json.loads(entry)
            twice += name in entries
            entries[name] = target.merged(entries[name], found) if name in entries else found
        ledger.make("document that a query lists twice, merged", twice)
        yield from target.of_query(query, entries)


def _fill(store: sqlite3.Connection, records: Iterable[Record]) -> None:
    at = 0
    for record in records:
        store.execute("INSERT OR IGNORE INTO q (name) VALUES (?)", [record["query_id"]])
        [(query,)] = store.execute("SELECT at FROM q WHERE name = ?", [record["query_id"]])
        for name, entry in record["listed"]:
            store.execute("INSERT INTO d VALUES (?, ?, ?, ?)", [query, at, name, json.dumps(entry)])
            at += 1

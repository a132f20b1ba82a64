"""What has been paid for, in SQLite: each reply is durable before anyone acts on it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ...core.errors import PyriteError
from .budget import Spent

STORE = "verdicts.sqlite"
_SCHEMA = 1
_BUSY_S = 60.0
_BUSY_PAUSE_S = 0.01
_CALLS = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, judge TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cost REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_of_run ON calls (run);
"""


@dataclass(frozen=True, slots=True)
class Call:
    """How a call ended and what it took; `attempts` counts requests."""

    state: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class PaidStore:
    """One file for all judges, writers and runs; usable from several threads and processes.

    A subclass names its tables: several kinds may lie in the same file, whose calls count together.
    """

    _tables: ClassVar[str] = ""

    def __init__(self, path: Path, run: str = "") -> None:
        """Open the file, or make it; `run` names whose calls are recorded.

        Raises PyriteError if the file is no store of this version or cannot be written.
        """
        self.path = path
        self.run = run
        self._lock = threading.Lock()
        with self._sqlite():
            path.parent.mkdir(parents=True, exist_ok=True)
            # no implicit transactions: each begins and ends below
            self._db = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        self._to_wal()
        # a reply that has been paid for must outlive a power cut
        self._db.execute("PRAGMA synchronous=FULL")
        with self._transaction():
            (schema,) = self._db.execute("PRAGMA user_version").fetchone()
            if schema not in (0, _SCHEMA):
                raise PyriteError(
                    f"{self.path}: a verdict store of schema {schema}, this version reads"
                    f" {_SCHEMA}; name another file"
                )
            for statement in (_CALLS + self._tables).split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={_SCHEMA}")

    def _to_wal(self) -> None:
        """SQLite does not wait by itself where several make the same new file at once."""
        until = time.monotonic() + _BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(_BUSY_PAUSE_S)

    def close(self) -> None:
        """Close the file; what was put is in it already."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spent(self) -> Spent:
        """What the calls of this store's `run` took, in every process so far."""
        with self._sqlite(), self._lock:
            (calls, cost) = self._db.execute(
                "SELECT COALESCE(SUM(attempts), 0), COALESCE(SUM(cost), 0) FROM calls"
                " WHERE run = ?",
                (self.run,),
            ).fetchone()
        return Spent(int(calls), float(cost))

    def _record(self, who: str, call: Call) -> None:
        """Enter a call into the running transaction."""
        self._db.execute(
            "INSERT INTO calls (run, judge, state, attempts, prompt_tokens, completion_tokens,"
            " cost) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.run,
                who,
                call.state,
                call.attempts,
                call.prompt_tokens,
                call.completion_tokens,
                call.cost,
            ),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: the lock is waited for here, not found missing halfway
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _sqlite(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise PyriteError(
                f"{self.path}: not usable as a verdict store ({error}); check the file, the free"
                " space and the rights, or name another file on a local disk"
            ) from error

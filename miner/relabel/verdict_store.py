"""Verdicts that have been paid for, in SQLite: each one is durable before anyone acts on it.

Several processes may write at once. The first verdict of a judge on a pair stays, whoever wrote it,
so that all readers see the same; a person may change theirs.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ...core.digest import digest_texts
from ...core.errors import PyriteError
from ..training_row import Doc
from .budget import Spent
from .case import Case, Judgement, Verdict

_SCHEMA = 1
_BUSY_S = 60.0
_BUSY_PAUSE_S = 0.01
_HUMAN = "human:"
_MOST_VARIABLES = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS verdicts (
    judge TEXT NOT NULL, pair TEXT NOT NULL,
    relevant INTEGER, vs_truth TEXT, probability REAL, why TEXT NOT NULL,
    PRIMARY KEY (judge, pair)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, judge TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cost REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_of_run ON calls (run);
"""
_REPLACE = (
    "DO UPDATE SET relevant = excluded.relevant, vs_truth = excluded.vs_truth,"
    " probability = excluded.probability, why = excluded.why"
)


class VerdictStore:
    """The verdicts in one file, for all judges and runs; usable from several threads."""

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
            for statement in _TABLES.split(";"):
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

    def __enter__(self) -> VerdictStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, judge_key: str, case: Case) -> tuple[Verdict | None, ...]:
        """The judge's verdict on each document of the case, None where there is none."""
        keys = pair_keys(case)
        found: dict[str, Verdict] = {}
        with self._sqlite(), self._lock:
            for start in range(0, len(keys), _MOST_VARIABLES):
                some = keys[start : start + _MOST_VARIABLES]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(
                    "SELECT pair, relevant, vs_truth, probability, why FROM verdicts"
                    f" WHERE judge = ? AND pair IN ({marks})",
                    (judge_key, *some),
                )
                found.update((row[0], _verdict(*row[1:])) for row in rows)
        return tuple(found.get(key) for key in keys)

    def put(self, judge_key: str, case: Case, judgement: Judgement, cost: float = 0.0) -> None:
        """Record a call, and its verdicts if its state is `ok`, in one durable transaction.

        A model's earlier verdict on a pair stays; a person's is replaced.
        """
        rows = [
            (judge_key, key, verdict.relevant, verdict.vs_truth, verdict.probability, verdict.why)
            for key, verdict in zip(pair_keys(case), judgement.verdicts, strict=True)
        ]
        conflict = _REPLACE if judge_key.startswith(_HUMAN) else "DO NOTHING"
        with self._sqlite(), self._lock, self._transaction():
            if judgement.state == "ok":
                self._db.executemany(
                    "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?)"
                    f" ON CONFLICT (judge, pair) {conflict}",
                    rows,
                )
            self._db.execute(
                "INSERT INTO calls (run, judge, state, attempts, prompt_tokens, completion_tokens,"
                " cost) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self.run,
                    judge_key,
                    judgement.state,
                    judgement.attempts,
                    judgement.prompt_tokens,
                    judgement.completion_tokens,
                    cost,
                ),
            )

    def spent(self) -> Spent:
        """What the calls of this store's `run` took, in every process so far."""
        with self._sqlite(), self._lock:
            (calls, cost) = self._db.execute(
                "SELECT COALESCE(SUM(attempts), 0), COALESCE(SUM(cost), 0) FROM calls"
                " WHERE run = ?",
                (self.run,),
            ).fetchone()
        return Spent(int(calls), float(cost))

    def humans(self) -> list[str]:
        """The judge keys of persons, sorted."""
        with self._sqlite(), self._lock:
            rows = self._db.execute(
                "SELECT DISTINCT judge FROM verdicts WHERE judge >= ? AND judge < ? ORDER BY judge",
                (_HUMAN, _HUMAN[:-1] + ";"),
            ).fetchall()
        return [str(row[0]) for row in rows]

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


def human_key(name: str) -> str:
    """The judge key of a person's verdicts."""
    return _HUMAN + name


def pair_keys(case: Case) -> list[str]:
    """A digest of query, truths (in any order) and document, for each document of the case."""
    truths = sorted(_doc_digest(doc) for doc in case.truths)
    return [digest_texts([case.query, *truths, _doc_digest(doc)]) for doc in case.documents]


def _doc_digest(doc: Doc) -> str:
    return digest_texts([doc.title, doc.text])


def _verdict(
    relevant: int | None, vs_truth: str | None, probability: float | None, why: str
) -> Verdict:
    known = None if relevant is None else bool(relevant)
    return Verdict(known, vs_truth, probability, why)  # type: ignore[arg-type]

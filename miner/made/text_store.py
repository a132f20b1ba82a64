"""Texts that have been paid for, in the file of the verdicts: durable before anyone reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

from ...core.digest import digest_texts
from ..relabel.paid_store import Call, PaidStore
from .writer import Written

_MOST_VARIABLES = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS made (
    writer TEXT NOT NULL, question TEXT NOT NULL, texts TEXT NOT NULL,
    PRIMARY KEY (writer, question)
) WITHOUT ROWID;
"""


class TextStore(PaidStore):
    """The replies of writers; the first one to a question stays, whoever wrote it."""

    _tables: ClassVar[str] = _TABLES

    def get(self, writer: str, questions: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The texts of those questions that have a reply, by the digest of the question."""
        found: dict[str, tuple[str, ...]] = {}
        with self._sqlite(), self._lock:
            for start in range(0, len(questions), _MOST_VARIABLES):
                some = questions[start : start + _MOST_VARIABLES]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(
                    f"SELECT question, texts FROM made WHERE writer = ? AND question IN ({marks})",
                    (writer, *some),
                )
                found.update((row[0], tuple(json.loads(row[1]))) for row in rows)
        return found

    def put(self, writer: str, question: str, written: Written, cost: float) -> None:
        """Record a call, and its texts if its state is `ok`, in one durable transaction."""
        with self._sqlite(), self._lock, self._transaction():
            if written.state == "ok":
                self._db.execute(
                    "INSERT INTO made VALUES (?, ?, ?) ON CONFLICT (writer, question) DO NOTHING",
                    (writer, question, json.dumps(written.texts)),
                )
            tokens = written.prompt_tokens, written.completion_tokens
            self._record(writer, Call(written.state, written.attempts, *tokens, cost))


def question_key(question: str) -> str:
    """The digest under which a question's texts are kept."""
    return digest_texts([question])

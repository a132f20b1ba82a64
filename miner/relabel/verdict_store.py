"""Verdicts that have been paid for, in SQLite: each one is durable before anyone acts on it.

Several processes may write at once. The first verdict of a judge on a pair stays, whoever wrote it,
so that all readers see the same; a person may change theirs.
"""

from __future__ import annotations

from typing import ClassVar

from ...core.digest import digest_texts
from ..training_row import Doc
from .case import Case, Judgement, Verdict
from .paid_store import Call, PaidStore

_HUMAN = "human:"
_MOST_VARIABLES = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS verdicts (
    judge TEXT NOT NULL, pair TEXT NOT NULL,
    relevant INTEGER, vs_truth TEXT, probability REAL, why TEXT NOT NULL,
    PRIMARY KEY (judge, pair)
) WITHOUT ROWID;
"""
_REPLACE = (
    "DO UPDATE SET relevant = excluded.relevant, vs_truth = excluded.vs_truth,"
    " probability = excluded.probability, why = excluded.why"
)


class VerdictStore(PaidStore):
    """The verdicts in one file, for all judges and runs; usable from several threads."""

    _tables: ClassVar[str] = _TABLES

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
            tokens = judgement.prompt_tokens, judgement.completion_tokens
            self._record(judge_key, Call(judgement.state, judgement.attempts, *tokens, cost))

    def humans(self) -> list[str]:
        """The judge keys of persons, sorted."""
        with self._sqlite(), self._lock:
            rows = self._db.execute(
                "SELECT DISTINCT judge FROM verdicts WHERE judge >= ? AND judge < ? ORDER BY judge",
                (_HUMAN, _HUMAN[:-1] + ";"),
            ).fetchall()
        return [str(row[0]) for row in rows]

    def said_by_people(self) -> list[tuple[str, str, Verdict]]:
        """Name, pair and verdict of all that people said, sorted by name and pair."""
        with self._sqlite(), self._lock:
            rows = self._db.execute(
                "SELECT judge, pair, relevant, vs_truth, probability, why FROM verdicts"
                " WHERE judge >= ? AND judge < ? ORDER BY judge, pair",
                (_HUMAN, _HUMAN[:-1] + ";"),
            ).fetchall()
        return [(row[0][len(_HUMAN) :], row[1], _verdict(*row[2:])) for row in rows]

    def said_of(self, pair: str) -> dict[str, Verdict]:
        """What people said about one pair, by name."""
        with self._sqlite(), self._lock:
            rows = self._db.execute(
                "SELECT judge, relevant, vs_truth, probability, why FROM verdicts"
                " WHERE judge >= ? AND judge < ? AND pair = ?",
                (_HUMAN, _HUMAN[:-1] + ";", pair),
            ).fetchall()
        return {row[0][len(_HUMAN) :]: _verdict(*row[1:]) for row in rows}

    def withdraw(self, name: str, case: Case) -> None:
        """Forget what a person said about the documents of the case."""
        key = human_key(name)
        with self._sqlite(), self._lock, self._transaction():
            self._db.executemany(
                "DELETE FROM verdicts WHERE judge = ? AND pair = ?",
                [(key, pair) for pair in pair_keys(case)],
            )


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

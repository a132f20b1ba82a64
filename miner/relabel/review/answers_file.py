"""Answers that a written page has handed down: a JSON line for each pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ....core.errors import PyriteError
from ....core.json_lines import json_object
from ...formats.text_lines import text_lines
from ...training_file import TrainingFile
from ..case import Case, Judgement
from ..verdict_store import VerdictStore, human_key, pair_keys
from .pair import ANSWERS, VERDICTS, Answer
from .reviewer import reviewer_name


@dataclass(frozen=True, slots=True)
class _Given:
    line: int
    reviewer: str
    pair: str
    answer: Answer


def take_answers(path: Path, file: TrainingFile, store: VerdictStore) -> Counter[Answer]:
    """Put the answers of a page's file into the store; a reviewer's earlier ones are replaced.

    Raises PyriteError, and takes nothing, for a line that is malformed, or whose pair is not in
    the training file with the same texts.
    """
    given = _read(path)
    cases = _cases(file, {one.pair for one in given})
    for one in given:
        if one.pair not in cases:
            raise PyriteError(
                f"{path}:{one.line}: this pair is not in {file.path} with the texts that were"
                " answered; name the file and configuration that the page was written from"
            )
    for one in given:
        judgement = Judgement("ok", (VERDICTS[one.answer],))
        store.put(human_key(one.reviewer), cases[one.pair], judgement)
    return Counter(one.answer for one in given)


def _read(path: Path) -> list[_Given]:
    if not path.is_file():
        raise PyriteError(f"{path}: no such file of answers")
    found: dict[tuple[str, str], _Given] = {}
    for line, text in text_lines(path):
        where = f"{path}:{line}"
        record = json_object(text.encode(), where)
        pair, answer, name = (record.get(key) for key in ("pair", "answer", "reviewer"))
        if not isinstance(pair, str) or answer not in ANSWERS or not isinstance(name, str):
            raise PyriteError(
                f"{where}: expected pair, reviewer and an answer out of {', '.join(ANSWERS)}"
            )
        one = _Given(line, reviewer_name(name, f"{where}: reviewer"), pair, answer)
        if found.setdefault((one.reviewer, pair), one).answer != answer:
            raise PyriteError(f"{where}: this pair has two answers by {name}; keep one of both")
    if not found:
        raise PyriteError(f"{path}: no answers; one a line is needed")
    return list(found.values())


def _cases(file: TrainingFile, wanted: set[str]) -> dict[str, Case]:
    """The pairs with these names, each a case of one document."""
    found: dict[str, Case] = {}
    for row in file.rows():
        truths = tuple(doc for doc in row.positives if doc.known)
        if not row.known or not truths:
            continue
        documents = tuple(doc for doc in row.negatives if doc.known)
        keys = pair_keys(Case("", row.query, truths, documents))
        for key, doc in zip(keys, documents, strict=True):
            if key in wanted:
                found[key] = Case("", row.query, truths, (doc,))
    return found

"""Judgements of every layout: BEIR's and TREC's lines, records in JSON lines or parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import PyriteError
from ..training_row import Record, id_value
from .layouts import JsonLines, Parquet
from .packed import plain_suffix
from .text_lines import text_lines

_QUERY = ("query-id", "query_id", "qid")
_DOCUMENT = ("corpus-id", "corpus_id", "document_id", "doc_id", "docid")
_GRADE = ("score", "relevance", "grade")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A grade of a query's document, with its line from 1."""

    line: int
    query: str
    document: str
    grade: int


def judgements(path: Path, tabbed: bool = False) -> Iterator[Judgement]:
    """Judgements in file order; a record without a grade is a positive.

    `tabbed` is for BEIR's lines, which must have three fields with tabs between. Raises
    PyriteError with the line of a malformed one.
    """
    suffix = plain_suffix(path)
    if suffix in (".jsonl", ".parquet"):
        layout = Parquet() if suffix == ".parquet" else JsonLines()
        for line, record in layout.read(path):
            yield _of_record(record, line, f"{path}:{line}")
        return
    for line, text in text_lines(path):
        where = f"{path}:{line}"
        fields = text.split("\t") if tabbed else text.split()
        if line == 1 and suffix == ".tsv" and fields[0] == "query-id":
            continue
        if tabbed and len(fields) != 3:
            raise PyriteError(
                f"{where}: {len(fields)} tab-separated fields, expected 3 (query-id, corpus-id,"
                " score)"
            )
        # MS MARCO's, TREC's and BEIR's files differ in the column that is always 0
        if len(fields) == 4:
            del fields[1]
        if len(fields) != 3:
            raise PyriteError(
                f"{where}: {len(fields)} fields, expected query, document, grade or query,"
                " 0, document, grade"
            )
        yield Judgement(line, fields[0], fields[1], _grade(fields[2], where))


def _of_record(record: Record, line: int, where: str) -> Judgement:
    query, document, grade = (
        next((k for k in keys if k in record), keys[0]) for keys in (_QUERY, _DOCUMENT, _GRADE)
    )
    names = [id_value(record.get(key), key, where) for key in (query, document)]
    if not (names[0] and names[1]):
        raise PyriteError(f"{where}: no {query!r} or no {document!r}; every judgement needs both")
    value = record.get(grade)
    # NanoBEIR and jansowa list positives alone
    return Judgement(line, names[0], names[1], 1 if value is None else _grade(value, where))


def _grade(value: object, where: str) -> int:
    try:
        # a parquet column of whole numbers may be one of floats
        grade = int(str(value).removesuffix(".0") if isinstance(value, float) else str(value))
    except ValueError as error:
        raise PyriteError(
            f"{where}: grade {value!r} is not a whole number; mend the line"
        ) from error
    if not -(2**15) <= grade < 2**15:
        raise PyriteError(f"{where}: grade {grade} is outside -32768..32767")
    return grade

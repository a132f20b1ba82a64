"""BEIR folders: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`, read line by line.

The texts are converted once into an Arrow file that later runs map; its key is the digest of the
source file, so an edited file is read again.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .digest import digest_bytes, digest_file
from .errors import PyriteError
from .ids import DuplicateIdError
from .json_lines import json_object, whole_text
from .store import Manifest, atomic_write
from .tables import Qrels, TextTable, check_rows, write_texts

logger = logging.getLogger(__name__)

SCHEMA = 2
OnEmpty = Literal["error", "drop"]
_HEADER = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One BEIR folder: corpus, queries and the paths of its qrels.

    `dropped` are the ids of `documents` and `queries` that were left out for want of a text.
    """

    folder: Path
    corpus: TextTable
    queries: TextTable
    dropped: dict[str, frozenset[str]] = field(default_factory=dict)

    def splits(self) -> list[str]:
        """Names of the qrels files."""
        return sorted(p.stem for p in (self.folder / "qrels").glob("*.tsv"))

    def qrels(self, split: str, min_grade: int = 1) -> Qrels:
        """Judgements of one split; raises PyriteError with the line of a malformed row."""
        check_split(self.folder, split)
        path = self.folder / "qrels" / f"{split}.tsv"
        return read_qrels(path, self.queries, self.corpus, min_grade, self.dropped)

    def digest(self) -> str:
        """Digest of both text tables."""
        return digest_bytes(self.corpus.digest.encode(), self.queries.digest.encode())


def check_split(folder: Path, split: str) -> None:
    """Raise PyriteError unless `folder` is there and has judgements of `split`."""
    if not folder.is_dir():
        raise PyriteError(f"{folder}: no such dataset folder; set dataset.path to a BEIR folder")
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        splits = sorted(p.stem for p in (folder / "qrels").glob("*.tsv"))
        raise PyriteError(f"{path}: no such split; the folder has {', '.join(splits) or 'none'}")


def open_beir(folder: Path, cache: Path, on_empty: OnEmpty = "error") -> Dataset:
    """Open a BEIR folder; texts are mapped from `cache`, converted at the first use.

    Raises PyriteError for a missing file, a malformed line, a duplicate id or an empty text.
    """
    if not folder.is_dir():
        raise PyriteError(f"{folder}: no such dataset folder; set dataset.path to a BEIR folder")
    corpus, no_text = _open_texts(folder / "corpus.jsonl", cache, on_empty)
    queries, no_query = _open_texts(folder / "queries.jsonl", cache, on_empty)
    return Dataset(folder, corpus, queries, {"documents": no_text, "queries": no_query})


def _open_texts(path: Path, cache: Path, on_empty: OnEmpty) -> tuple[TextTable, frozenset[str]]:
    if not path.is_file():
        raise PyriteError(
            f"{path}: no such file; a BEIR folder holds corpus.jsonl,"
            " queries.jsonl and qrels/<split>.tsv"
        )
    digest = digest_bytes(
        b"texts", str(SCHEMA).encode(), on_empty.encode(), digest_file(path).encode()
    )
    target = cache / "texts" / digest
    manifest = Manifest.read(target)
    if manifest is None or not manifest.intact(target):
        dropped: list[str] = []
        texts = ((row_id, text) for _, row_id, text in _kept(path, on_empty, dropped))
        rows = write_texts(target / "texts.arrow", texts)
        if not rows:
            raise PyriteError(f"{path}: no texts; at least one line is needed")
        # a duplicate id must be found before the artefact exists
        try:
            TextTable.open(target / "texts.arrow", digest, str(path))
        except DuplicateIdError as error:
            # empty lines and dropped texts have no row: the file is read again for its lines
            lines = (n for n, row_id, _ in _kept(path, on_empty, []) if row_id == error.row_id)
            first, second = itertools.islice(lines, 2)
            places = f"lines {first} and {second}"
            raise DuplicateIdError(str(path), error.row_id, places) from error
        manifest = Manifest.write(
            target, schema=SCHEMA, kind="texts", rows=rows, dropped_empty=dropped
        )
    found = frozenset(manifest.data["dropped_empty"])
    if found:
        logger.warning("%s: %d empty texts dropped (dataset.on_empty=drop)", path, len(found))
    return TextTable.open(target / "texts.arrow", digest, str(path)), found


def _kept(path: Path, on_empty: OnEmpty, dropped: list[str]) -> Iterator[tuple[int, str, str]]:
    """(line, id, text) of every line that becomes a row; ids of the others go to `dropped`."""
    for line_number, record in _records(path):
        where = f"{path}:{line_number}"
        row_id = _string(record, "_id", where)
        if not row_id or "\0" in row_id:
            raise PyriteError(f"{where}: empty or unprintable '_id'; every line needs an id")
        title = _string(record, "title", where) if record.get("title") is not None else ""
        text = f"{title} {_string(record, 'text', where)}".strip()
        if not text:
            if on_empty == "error":
                raise PyriteError(
                    f"{where}: empty text for id {row_id!r}; remove the line or set"
                    " dataset.on_empty=drop"
                )
            dropped.append(row_id)
            continue
        yield line_number, row_id, text


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as handle:
        for line_number, raw in enumerate(handle, start=1):
            if raw.strip():
                yield line_number, json_object(raw, f"{path}:{line_number}")


def _string(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and key == "_id":
        return str(value)
    if not isinstance(value, str):
        found = "missing" if key not in record else f"a {type(value).__name__}"
        raise PyriteError(f"{where}: field {key!r} is {found}; it must be a string")
    return whole_text(value, key, where)


def read_qrels(
    path: Path,
    queries: TextTable,
    corpus: TextTable,
    min_grade: int = 1,
    dropped: dict[str, frozenset[str]] | None = None,
) -> Qrels:
    """Read a BEIR qrels file (tab-separated, with header) into row numbers.

    Judgements of what was dropped for want of a text are passed over and counted.
    """
    no_query, no_text = ((dropped or {}).get(k, frozenset()) for k in ("queries", "documents"))
    passed = 0
    query_ids: list[str] = []
    doc_ids: list[str] = []
    grades: list[int] = []
    lines: list[int] = []
    for line, row in _qrels_rows(path):
        grade = _grade(row, f"{path}:{line}")
        if row[0] in no_query or row[1] in no_text:
            passed += 1
            continue
        grades.append(grade)
        query_ids.append(row[0])
        doc_ids.append(row[1])
        lines.append(line)
    if passed:
        logger.warning("%s: %d judgements of dropped texts passed over", path, passed)
    query_rows, doc_rows = queries.ids.find(query_ids), corpus.ids.find(doc_ids)
    check_rows(query_rows, query_ids, lines, str(path), "queries")
    check_rows(doc_rows, doc_ids, lines, str(path), "corpus")
    qrels = Qrels.build(
        query_rows, doc_rows, np.array(grades, dtype=np.int64), len(queries), min_grade
    )
    if not qrels.with_positives().size:
        raise PyriteError(
            f"{path}: no query has a positive (grade >= {min_grade});"
            " lower dataset.min_grade or name other judgements"
        )
    return qrels


def _qrels_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open("rb") as handle:
        for line, raw in enumerate(handle, start=1):
            try:
                row = raw.decode("utf-8").rstrip("\r\n").split("\t")
            except UnicodeDecodeError as error:
                raise PyriteError(f"{path}:{line}: not UTF-8 ({error}); mend the line") from error
            if row != [""] and not (line == 1 and row == _HEADER):
                yield line, row


def _grade(row: list[str], where: str) -> int:
    if len(row) != len(_HEADER):
        raise PyriteError(
            f"{where}: {len(row)} tab-separated fields, expected 3 (query-id, corpus-id, score)"
        )
    try:
        grade = int(row[2])
    except ValueError as error:
        raise PyriteError(f"{where}: score {row[2]!r} is not a whole number") from error
    if not -(2**15) <= grade < 2**15:
        raise PyriteError(f"{where}: score {grade} is outside -32768..32767")
    return grade


def write_beir(
    folder: Path,
    corpus: dict[str, tuple[str, str]],
    queries: dict[str, str],
    qrels: dict[str, list[tuple[str, str, int]]],
) -> None:
    """Write a BEIR folder, each file atomically; `corpus` maps id to (title, text)."""
    _write_lines(
        folder / "corpus.jsonl",
        ({"_id": i, "title": title, "text": text} for i, (title, text) in corpus.items()),
    )
    _write_lines(folder / "queries.jsonl", ({"_id": i, "text": t} for i, t in queries.items()))
    for split, rows in qrels.items():
        with atomic_write(folder / "qrels" / f"{split}.tsv") as handle:
            for fields in (_HEADER, *rows):
                handle.write(("\t".join(map(str, fields)) + "\n").encode())


def _write_lines(path: Path, records: Iterator[dict[str, str]]) -> None:
    with atomic_write(path) as handle:
        for record in records:
            handle.write((json.dumps(record, ensure_ascii=False) + "\n").encode())

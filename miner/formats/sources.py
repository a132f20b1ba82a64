"""Where a file that holds ids finds its texts and judgements: what the user named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import PyriteError
from ...core.tables import Qrels, TextTable, check_rows
from .judgements import judgements
from .sets import SetFolder
from .texts import open_texts

CACHE = Path("runs/.cache")


@dataclass(frozen=True, slots=True)
class Sources:
    """Paths beside a training file; `corpus` may be a BEIR or MTEB folder, with queries too.

    `option` is what errors put in front of a path's name; `titled` asks for the titles of a run's
    documents, which mining does not keep apart.
    """

    corpus: Path | None = None
    queries: Path | None = None
    qrels: Path | None = None
    cache: Path = CACHE
    option: str = "--"
    titled: bool = False

    def open_corpus(self, where: str) -> TextTable:
        """Texts of documents; raises PyriteError if none are named."""
        if self.corpus is None:
            knob = f"{self.option}corpus"
            raise PyriteError(f"{where}: holds document ids without texts; name them with {knob}")
        paths: tuple[Path, ...] = (self.corpus,)
        if self.corpus.is_dir():
            paths = SetFolder.find(self.corpus).corpus or (self.corpus / "corpus.jsonl",)
        return open_texts(paths, self.cache)

    def open_queries(self, where: str) -> TextTable:
        """Texts of queries; raises PyriteError if none are named."""
        home = self.corpus if self.queries is None else self.queries
        if home is not None and home.is_dir():
            return open_texts(SetFolder.find(home).queries or (home / "queries.jsonl",), self.cache)
        if self.queries is None:
            knob = f"{self.option}queries"
            raise PyriteError(f"{where}: holds query ids without texts; name them with {knob}")
        return open_texts((self.queries,), self.cache)

    def open_qrels(self, queries: TextTable, corpus: TextTable, where: str) -> Qrels:
        """Judgements, BEIR's or TREC's; raises PyriteError if none are named."""
        if self.qrels is None:
            knob = f"{self.option}qrels"
            raise PyriteError(f"{where}: holds no positives; name the judgements with {knob}")
        return read_judgements(self.qrels, queries, corpus)


def read_judgements(path: Path, queries: TextTable, corpus: TextTable) -> Qrels:
    """Judgements of either form in table rows; a grade of 1 or more is a positive.

    Raises PyriteError with the line of a malformed judgement or of an unknown id.
    """
    if not path.is_file():
        raise PyriteError(f"{path}: no such file of judgements; set --qrels")
    rows = list(judgements(path))
    lines = [row.line for row in rows]
    query_ids, doc_ids = [row.query for row in rows], [row.document for row in rows]
    query_rows, doc_rows = queries.ids.find(query_ids), corpus.ids.find(doc_ids)
    check_rows(query_rows, query_ids, lines, str(path), "queries")
    check_rows(doc_rows, doc_ids, lines, str(path), "corpus")
    grades = np.array([row.grade for row in rows], dtype=np.int64)
    return Qrels.build(query_rows, doc_rows, grades, len(queries))

"""A BEIR or MTEB folder by itself: ids, texts and judgements, before anything is mined from it.

Memory: a hash of each id and of each text, and of each judged pair of one split at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.digest import u64
from ..core.errors import PyriteError
from ..core.text import normalise
from .audit_checks import Check
from .contamination import HeldOut, Overlap
from .formats.judgements import Judgement, judgements
from .formats.sets import SetFolder
from .formats.texts import NamedText, numbered_texts
from .text_keys import id_key, text_key


@dataclass(slots=True)
class Sizes:
    """What a folder holds; `negatives` are pairs judged as not relevant."""

    queries: int = 0
    documents: int = 0
    positives: int = 0
    negatives: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A finding and where it is: the line from 1 and the file's name."""

    check: Check
    line: int
    where: str


def check_set(
    files: SetFolder, max_words: int, tests: HeldOut | None, sizes: Sizes
) -> Iterator[Place]:
    """All that is wrong with a set; `sizes` is filled meanwhile.

    Raises PyriteError with file and line for what is malformed.
    """
    if not files.queries:
        path = files.folder / "queries.jsonl"
        raise PyriteError(f"{path}: no such file; a set has corpus, queries and qrels")
    if not files.qrels:
        where = files.folder / "qrels"
        raise PyriteError(f"{where}: no judgements; at least one <split>.tsv is needed")
    shared = None if tests is None else _Shared(tests)
    documents, queries = set[int](), set[int]()
    yield from _texts(files.corpus, max_words, documents, shared.add_document if shared else None)
    yield from _texts(files.queries, max_words, queries, shared.add_query if shared else None)
    sizes.documents, sizes.queries = len(documents), len(queries)
    for paths in files.qrels.values():
        yield from _judgements(paths, files.tabbed, queries, documents, sizes, shared)


class _Shared:
    """What of a set an evaluation has too: queries by id, and its positives by id.

    Memory: an entry for each shared query, and for each shared document.
    """

    def __init__(self, tests: HeldOut) -> None:
        self._tests = tests
        self._wanted = tests.document_keys()
        self._documents: dict[int, frozenset[int]] = {}
        self._queries: dict[int, Overlap] = {}

    def add_document(self, named: NamedText) -> Check | None:
        """Remember a document with the text of a positive, which alone is no finding."""
        found = self._wanted.intersection([text_key(named.full), text_key(named.text)])
        if found and named.full:
            self._documents[id_key(named.id)] = found
        return None

    def add_query(self, named: NamedText) -> Check | None:
        """Remember a query that is asked there too, and name the finding."""
        overlap = self._tests.find(named.full)
        if overlap is None:
            return None
        self._queries[id_key(named.id)] = overlap
        return Check.TEST_QUERY

    def judged(self, row: Judgement, path: Path) -> Check | None:
        """The finding of a positive pair; None for the evaluation's own file."""
        overlap = self._queries.get(id_key(row.query))
        if overlap is None or self._tests.judges(path):
            return None
        key = id_key(row.document)
        keys = self._documents.get(key, frozenset()) | {key}
        if not keys.isdisjoint(overlap.exact):
            return Check.TEST_PAIR
        return None if keys.isdisjoint(overlap.near) else Check.NEAR_TEST_PAIR


def _texts(
    paths: Sequence[Path],
    max_words: int,
    ids: set[int],
    shared: Callable[[NamedText], Check | None] | None,
) -> Iterator[Place]:
    texts: set[int] = set()
    for path in paths:
        for named in numbered_texts(path):
            key = u64(named.id)
            found = [Check.DUPLICATE_ID] if key in ids else []
            ids.add(key)
            found += _of_text(named.full, max_words, texts)
            leak = None if shared is None else shared(named)
            if leak is not None:
                found.append(leak)
            yield from (Place(check, named.line, path.name) for check in found)


def _of_text(text: str, max_words: int, seen: set[int]) -> list[Check]:
    words = len(text.split())
    if not words:
        return [Check.EMPTY_TEXT]
    key, found = u64(normalise(text)), []
    if words > max_words:
        found.append(Check.LONG_TEXT)
    if key in seen:
        found.append(Check.DUPLICATE_TEXT)
    seen.add(key)
    return found


def _judgements(
    paths: Sequence[Path],
    tabbed: bool,
    queries: set[int],
    documents: set[int],
    sizes: Sizes,
    shared: _Shared | None,
) -> Iterator[Place]:
    judged: dict[int, bool] = {}
    for path in paths:
        name = f"{path.parent.name}/{path.name}"
        for row in judgements(path, tabbed):
            good = row.grade > 0
            sizes.positives += good
            sizes.negatives += not good
            found = [
                Check.UNKNOWN_ID
                for text, known in ((row.query, queries), (row.document, documents))
                if u64(text) not in known
            ]
            pair = u64(f"{row.query}\0{row.document}")
            if pair in judged:
                same = judged[pair] == good
                found.append(Check.DUPLICATE_JUDGEMENT if same else Check.CONTRADICTION)
            judged[pair] = good
            leak = shared.judged(row, path) if shared is not None and good else None
            if leak is not None:
                found.append(leak)
            yield from (Place(check, row.line, name) for check in found)

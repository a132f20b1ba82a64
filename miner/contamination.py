"""What a training file shares with an evaluation: queries, and judged pairs.

Memory: the words of the split's queries, and 64-bit hashes of the ids and texts of their positives;
the evaluation's corpus is streamed once and not kept.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import PyriteError
from ..core.text import normalise
from .formats.sets import SetFolder
from .formats.texts import NamedText, numbered_texts
from .near_text import NearIndex
from .text_keys import id_key, text_key

logger = logging.getLogger(__name__)
_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Overlap:
    """What the test queries equal, and those nearly equal, to a query have as positives.

    `exact` and `near` are hashes of ids and of texts.
    """

    exact: frozenset[int]
    near: frozenset[int]


class HeldOut:
    """The queries of one split of an evaluation set, with their positives."""

    def __init__(
        self,
        texts: Mapping[str, str],
        positives: Mapping[str, Collection[int]],
        files: Collection[Path] = (),
    ) -> None:
        """`texts` maps query ids to texts, `positives` to hashes; `files` hold the judgements."""
        self._exact: dict[str, list[str]] = defaultdict(list)
        for key, text in texts.items():
            self._exact[normalise(text)].append(key)
        self._near = NearIndex(texts)
        self._positives = {key: frozenset(found) for key, found in positives.items()}
        self._files = frozenset(path.resolve() for path in files)

    @classmethod
    def read(cls, folder: Path, split: str) -> HeldOut:
        """Read a BEIR or MTEB folder; a grade of 1 or more is a positive.

        Without a corpus, or where it lacks a judged document, pairs are compared by id alone; that
        is logged. Raises PyriteError if queries or split are missing, or a judged query is unknown.
        """
        found = SetFolder.find(folder)
        if not found.queries:
            raise PyriteError(
                f"{folder}: no queries.jsonl and no folder queries; --against takes a BEIR or MTEB"
                " folder"
            )
        documents: dict[str, set[str]] = {}
        for row in found.judgements(split):
            judged = documents.setdefault(row.query, set())
            if row.grade > 0:
                judged.add(row.document)
        texts = {
            named.id: named.text
            for path in found.texts_of(split, found.queries)
            for named in numbered_texts(path)
            if named.id in documents
        }
        missing = documents.keys() - texts.keys()
        if missing:
            raise PyriteError(
                f"{found.judged(split)[0]}: unknown query id {min(missing)!r} ({len(missing)} such"
                f" ids); every id must stand in {found.queries[0].name}"
            )
        keys = _document_keys(found, split, set().union(*documents.values()))
        positives = {
            query: {key for name in names for key in keys[name]}
            for query, names in documents.items()
        }
        return cls(texts, positives, found.judged(split))

    def find(self, query: str) -> Overlap | None:
        """What test queries with the same normalised text, or nearly its words, have; or None."""
        same, near = self._exact.get(normalise(query), []), self._near.all(query)
        return Overlap(self._of(same), self._of(near)) if same or near else None

    def judges(self, path: Path) -> bool:
        """Whether a file is one of those that the judgements came from."""
        return path.resolve() in self._files

    def document_keys(self) -> frozenset[int]:
        """Hashes of all positives."""
        return _NONE.union(*self._positives.values())

    def _of(self, queries: Collection[str]) -> frozenset[int]:
        return _NONE.union(*(self._positives.get(key, _NONE) for key in queries))


def _document_keys(found: SetFolder, split: str, names: set[str]) -> dict[str, list[int]]:
    """Hashes of each named document: of its id, of its text, and of that without the title."""
    keys = {name: [id_key(name)] for name in names}
    seen: set[str] = set()
    for path in found.texts_of(split, found.corpus):
        for named in numbered_texts(path):
            if named.id in keys:
                seen.add(named.id)
                keys[named.id] += _text_keys(named)
    if len(seen) < len(names):
        logger.warning(
            "%s: %d of %d judged documents have no text; they are compared by id alone",
            found.folder,
            len(names) - len(seen),
            len(names),
        )
    return keys


def _text_keys(named: NamedText) -> list[int]:
    """Hashes of a document's text with and without its title; none of an empty text."""
    return [text_key(text) for text in (named.full, named.text) if text.strip()]

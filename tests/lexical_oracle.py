"""BM25 in plain Python, term by term, and text tables from plain mappings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyrite.core.digest import digest_texts
from pyrite.core.tables import TextTable, write_texts


def text_table(folder: Path, texts: Mapping[str, str]) -> TextTable:
    """A table whose digest covers ids and texts in row order."""
    digest = digest_texts([part for row in texts.items() for part in row])
    path = folder / f"{digest}.arrow"
    write_texts(path, texts.items())
    return TextTable.open(path, digest, "oracle")


def bm25(
    documents: Sequence[Sequence[str]], query: Sequence[str], k1: float, b: float
) -> dict[int, float]:
    """Lucene-form BM25 of every document that shares a term with the query."""
    mean = sum(len(d) for d in documents) / len(documents)
    found: dict[int, float] = {}
    for row, document in enumerate(documents):
        for term in query:
            frequency = list(document).count(term)
            if frequency:
                matching = sum(term in d for d in documents)
                idf = math.log(1 + (len(documents) - matching + 0.5) / (matching + 0.5))
                length = 1 - b + b * len(document) / mean
                found[row] = found.get(row, 0.0) + idf * frequency / (frequency + k1 * length)
    return found

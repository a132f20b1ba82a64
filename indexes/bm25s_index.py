"""BM25 by bm25s: scores computed when the index is built, four mapped arrays and a vocabulary.

bm25s (Lù, 2024, arXiv 2407.03618) builds, saves and maps the index. Its own top-k leaves the order
of ties open and adds up in float32, so a search here adds up the mapped scores of every matching
document in float64, in a fixed order, and settles ties by document id.
"""

from __future__ import annotations

import functools
import logging
import unicodedata
from collections.abc import Sequence
from importlib import metadata
from itertools import groupby
from pathlib import Path

import bm25s
import numpy as np
import numpy.typing as npt
import Stemmer

from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.progress import progress
from ..core.tables import TextTable
from ..core.text import normalise
from .lexical import LexicalConfig, check_depth, count_terms
from .topk import order_rows

# bm25s sets its own logger to DEBUG when it is imported
logging.getLogger("bm25s").setLevel(logging.WARNING)

_BLOCK = 8192


class Bm25sIndex:
    """A mapped bm25s index, searched in one thread: NumPy's additions hold the interpreter."""

    def __init__(
        self, folder: Path, config: LexicalConfig, table: TextTable, workers: int = 1
    ) -> None:
        model = bm25s.BM25.load(folder, mmap=True, allow_pickle=False, show_progress=False)
        self._config = config
        self._documents = len(table)
        self._rank_N = table.ids.rank_N
        self._vocabulary: dict[str, int] = model.vocab_dict
        self._scores: npt.NDArray[np.float32] = model.scores["data"]
        self._rows: npt.NDArray[np.int32] = model.scores["indices"]
        self._starts: I64 = model.scores["indptr"]

    @staticmethod
    def identity() -> str:
        """The versions that decide which terms a text has and what they score."""
        names = ("bm25s", "PyStemmer")
        versions = [f"{name} {metadata.version(name)}" for name in names]
        return ", ".join([*versions, f"Unicode {unicodedata.unidata_version}"])

    @staticmethod
    def build(folder: Path, config: LexicalConfig, table: TextTable, workers: int = 1) -> None:
        """Write the index files of `table` to `folder`; no file is a pickle.

        Holds the term numbers of the whole corpus in memory, 8 bytes for each term occurrence.
        Raises PyriteError if no document has a term.
        """
        vocabulary: dict[str, int] = {}
        rows: list[list[int]] = []
        with progress("cut documents into terms", total=len(table), unit="documents") as bar:
            for start in range(0, len(table), _BLOCK):
                texts = table.texts(slice(start, start + _BLOCK))
                for terms in tokenise(texts, config):
                    rows.append([vocabulary.setdefault(term, len(vocabulary)) for term in terms])
                bar.update(len(texts))
        if not vocabulary:
            raise PyriteError(
                f"{table.where}: no document has a term with"
                f" lexical.stopwords={config.stopwords}; at least one is needed, so set"
                " lexical.stopwords=none or use another corpus"
            )
        model = bm25s.BM25(k1=config.k1, b=config.b, method="lucene", backend="numpy")
        # the empty token of bm25s has no column in the matrix
        model.index((rows, vocabulary), create_empty_token=False, show_progress=False)
        model.save(folder, allow_pickle=False, show_progress=False)

    def __len__(self) -> int:
        return self._documents

    def search(self, texts: Sequence[str], k: int) -> tuple[I64, F32]:
        """Top `k` of each text: see `LexicalIndex`."""
        check_depth(k, len(self))
        ids = np.full((len(texts), k), -1, dtype=np.int64)
        scores = np.full((len(texts), k), -np.inf, dtype=np.float32)
        sums_N = np.empty(len(self), dtype=np.float64)
        for at, terms in enumerate(tokenise(texts, self._config)):
            known = {t: n for t, n in count_terms(terms).items() if t in self._vocabulary}
            if known:
                sums_N.fill(0.0)
                self._add_up(known, sums_N)
                ids[at], scores[at] = self._best(sums_N, k)
        return ids, scores

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of one `search` beside the mapped index and the texts, in bytes."""
        # the sums, and then rows, scores, ids' ranks and order of up to N matching documents
        return 64 * len(self) + 12 * batch * k

    def _add_up(self, terms: dict[str, int], sums_N: npt.NDArray[np.float64]) -> None:
        # by term, not by number: the order of the corpus file must not decide how sums round
        for term, count in sorted(terms.items()):
            number = self._vocabulary[term]
            part = slice(int(self._starts[number]), int(self._starts[number + 1]))
            np.add.at(sums_N, self._rows[part], self._scores[part].astype(np.float64) * count)

    def _best(self, sums_N: npt.NDArray[np.float64], k: int) -> tuple[I64, F32]:
        """The best `k` of the documents with a sum: every score of a shared term is above 0."""
        rows = np.flatnonzero(sums_N)
        scores = sums_N[rows].astype(np.float32)
        if rows.size > k:
            # all that tie with the k-th stay, for the ids to decide
            keep = scores >= np.partition(scores, rows.size - k)[rows.size - k]
            rows, scores = rows[keep], scores[keep]
        ids, best = order_rows(rows[None, :], scores[None, :], self._rank_N, k)
        return ids[0], best[0]


def tokenise(texts: Sequence[str], config: LexicalConfig) -> list[list[str]]:
    """The terms of each text: normal form, runs of word characters, no stop words, stemmed.

    Unlike bm25s's default, words of one letter are terms, as in Lucene. Text without spaces
    between words is not cut into words.
    """
    found: list[list[str]] = bm25s.tokenize(
        [normalise(text) for text in texts],
        lower=False,
        token_pattern=_word_pattern(),
        stopwords=None if config.stopwords == "none" else config.stopwords,
        stemmer=None if config.stemmer == "none" else Stemmer.Stemmer(config.stemmer),
        return_ids=False,
        show_progress=False,
    )
    return found


@functools.cache
def _word_pattern() -> str:
    r"""`\w+`, with the combining marks that `\w` leaves out and that belong to a word."""
    ranges = []
    for marks, group in groupby(range(0x10000), lambda c: unicodedata.category(chr(c))[0] == "M"):
        points = list(group)
        if marks:
            ranges.append(f"\\u{points[0]:04x}-\\u{points[-1]:04x}")
    return rf"[\w{''.join(ranges)}]+"

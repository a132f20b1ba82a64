"""What a query-side step ranks: a query's positives, and what the search found beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID
from ..core.ids import I64
from ..core.rng import U64
from ..core.tables import Qrels

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lists:
    """Corpus rows `docs_BL` int64, -1 where a query has fewer; True in `relevant_BL`: a positive.

    Positives stand first, then the negatives in the order of the search.
    """

    docs_BL: I64
    relevant_BL: Flags


@dataclass(frozen=True, slots=True)
class Judgements:
    """What is known of the queries, by their rows in the table.

    `positives` are the documents to rank; `known` [P] ascending holds `query * span + text` of all
    that is never a negative; `text_of_N` numbers the corpus texts, equal texts alike.
    """

    positives: Qrels
    known: I64
    text_of_N: I64
    span: int

    @classmethod
    def of(cls, positives: Qrels, known: Qrels, query_texts_Q: U64, doc_texts_N: U64) -> Self:
        """From judgements and hashes of normalised texts.

        Never negatives are the positives of both, documents of an equal text, and documents of the
        query's own text.
        """
        span = int(doc_texts_N.size) + 1
        texts, text_of = np.unique(doc_texts_N, return_inverse=True)
        pairs = []
        for qrels in (positives, known):
            queries, docs = qrels.pairs()
            pairs.append(queries * span + text_of[docs])
        at = np.minimum(np.searchsorted(texts, query_texts_Q), texts.size - 1)
        own = np.flatnonzero(texts[at] == query_texts_Q)
        pairs.append(own * span + at[own])
        return cls(positives, np.unique(np.concatenate(pairs)), text_of.astype(np.int64), span)

    def lists(self, rows_B: I64, found_BK: I64) -> Lists:
        """The positives of the queries at `rows_B`, and those of `found_BK` that are negatives.

        Of found documents with one text the first counts.
        """
        positives = [self.positives.positives(int(row)) for row in rows_B]
        width = max(docs.size for docs in positives)
        docs_BL = np.full((rows_B.size, width + found_BK.shape[1]), PAD_ID, dtype=np.int64)
        for at, docs in enumerate(positives):
            docs_BL[at, : docs.size] = docs
        docs_BL[:, width:] = np.where(self._negative(rows_B, found_BK), found_BK, PAD_ID)
        relevant_BL = docs_BL != PAD_ID
        relevant_BL[:, width:] = False
        return Lists(docs_BL, relevant_BL)

    def _negative(self, rows_B: I64, found_BK: I64) -> Flags:
        texts_BK = self.text_of_N[found_BK]
        pairs_BK = rows_B[:, None] * self.span + texts_BK
        at_BK = np.minimum(np.searchsorted(self.known, pairs_BK), self.known.size - 1)
        unknown_BK: Flags = self.known[at_BK] != pairs_BK
        return _first_copies(texts_BK) & unknown_BK


def _first_copies(texts_BK: I64) -> Flags:
    """True at the first column of each row's texts."""
    order_BK = np.argsort(texts_BK, axis=1, kind="stable")
    ordered_BK = np.take_along_axis(texts_BK, order_BK, axis=1)
    first_BK = np.ones(texts_BK.shape, dtype=bool)
    first_BK[:, 1:] = ordered_BK[:, 1:] != ordered_BK[:, :-1]
    out_BK = np.empty_like(first_BK)
    np.put_along_axis(out_BK, order_BK, first_BK, axis=1)
    return out_BK

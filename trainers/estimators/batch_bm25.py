"""BM25 inside a batch, an estimator for Soft-InfoNCE (arXiv 2310.08069, appendix and code).

The paper's text speaks of query against document (`train.loss.source: bm25_documents`), its code
scores query against query (`bm25_queries`). Okapi's form with k1 1.2, k2 100 (the query term's
saturation) and b 0.75; the idf is the raw logarithm, negative for a term in more than half of the
batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

K1 = 1.2
K2 = 100.0
B = 0.75

Terms = Sequence[Hashable]


def bm25_of_documents(
    queries: Sequence[Terms], documents: Sequence[Terms], average_length: float | None = None
) -> Tensor:
    """Each query scored against every document of the batch, float32 [B, M].

    Sequences of terms: words or token ids. With the batch's queries as `documents` it is the
    paper's code (`bm25_queries`). Document frequencies are those of the batch, `average_length` is
    the data set's mean length of a document, by default the batch's.
    """
    from scipy.sparse import diags

    vocabulary: dict[Hashable, int] = {}
    frequency_MV = _counts(documents, vocabulary)
    asked_BV = _counts(queries, vocabulary)
    frequency_MV.resize(len(documents), len(vocabulary))
    lengths_M = np.asarray([len(terms) for terms in documents], dtype=np.float64)
    mean = float(lengths_M.mean()) if average_length is None and len(documents) else average_length
    matching_V = np.bincount(frequency_MV.indices, minlength=len(vocabulary))
    idf_V = np.log((len(documents) - matching_V + 0.5) / (matching_V + 0.5))
    relative_M = K1 * (1.0 - B + B * lengths_M / (mean or 1.0))
    row_of = np.repeat(np.arange(len(documents)), np.diff(frequency_MV.indptr))
    frequency_MV.data = (K1 + 1.0) * frequency_MV.data / (frequency_MV.data + relative_M[row_of])
    asked_BV.data = (K2 + 1.0) * asked_BV.data / (asked_BV.data + K2)
    scores = (asked_BV @ diags(idf_V) @ frequency_MV.T).toarray()
    return torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))


def _counts(texts: Sequence[Terms], vocabulary: dict[Hashable, int]) -> csr_matrix:
    """How often each text has each term, [texts, vocabulary so far]; new terms get a column."""
    from scipy.sparse import csr_matrix

    columns = [vocabulary.setdefault(t, len(vocabulary)) for terms in texts for t in terms]
    ends = np.cumsum([0, *(len(terms) for terms in texts)])
    counts = csr_matrix(
        (np.ones(len(columns)), np.asarray(columns, dtype=np.int64), ends),
        shape=(len(texts), len(vocabulary)),
    )
    counts.sum_duplicates()
    return counts

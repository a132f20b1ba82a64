"""Reranking: the first candidates of a retriever in the order of a cross-encoder."""

from __future__ import annotations

import numpy as np

from ..core.cross_encoder import PairScorer, score_pairs
from ..core.ids import I64
from ..core.progress import progress
from ..indexes.sources import SearchInputs

_BLOCK_PAIRS = 4096


def rerank(
    scorer: PairScorer, inputs: SearchInputs, ids_QK: I64, depth: int, max_tokens: int
) -> I64:
    """`ids_QK` int64 [Q, K], the first `depth` of each row by (score descending, id ascending).

    What stands deeper keeps its place, as does padding. Memory: the texts of about 4,096 pairs and
    one batch of at most `max_tokens` padded tokens. Raises PyriteError on a score that is not
    finite.
    """
    out = ids_QK.copy()
    head = ids_QK[:, :depth]
    step = max(1, _BLOCK_PAIRS // max(head.shape[1], 1))
    with progress("rerank", total=int((head >= 0).sum()), unit="pairs") as bar:
        for start in range(0, head.shape[0], step):
            ids = head[start : start + step]
            rows, columns = np.nonzero(ids >= 0)
            scores = np.full(ids.shape, -np.inf, dtype=np.float32)
            queries = inputs.queries.texts(inputs.rows[start + rows])
            documents = inputs.corpus.texts(ids[rows, columns])
            scores[rows, columns] = score_pairs(scorer, queries, documents, max_tokens, bar.update)
            ties = inputs.corpus.ids.rank_N[np.maximum(ids, 0)]
            order = np.lexsort((ties, -scores), axis=-1)
            out[start : start + step, :depth] = np.take_along_axis(ids, order, axis=1)
    return out

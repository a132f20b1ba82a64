"""Measuring a model that is about to change: its vectors go into no cache."""

from __future__ import annotations

import numpy as np

from ..core.beir import Dataset
from ..core.candidates import Candidates
from ..core.embeddings import Embeddings, encode_in_memory
from ..core.encoder import Encoder
from ..core.ids import I64
from ..core.tables import Qrels
from ..indexes.config import IndexConfig
from ..indexes.dense import open_exact
from .identical_ids import without_identical
from .measures import cutoff, per_query
from .results import Evaluation


def evaluate_in_memory(
    encoder: Encoder,
    dataset: Dataset,
    qrels: Qrels,
    rows: I64,
    measures: tuple[str, ...],
    max_tokens: int,
    corpus: Embeddings | None = None,
    pool: I64 | None = None,
    drop_identical: bool = False,
) -> Evaluation:
    """Measure a model that is about to change: its vectors stay in memory and in no cache.

    `rows` int64 [Q] are the queries; `corpus` are document vectors that do not change, if there are
    any. `pool` int64 [P], ascending, are the only documents to encode and to search; None: all.
    `drop_identical` takes out results with the query's own id, as `eval.identical_ids` does.
    Memory: 4 * D bytes for each document and query. Raises PyriteError on a vector that is not
    finite.
    """
    if corpus is None:
        corpus = encode_in_memory(encoder, dataset.corpus, "document", max_tokens, pool)
    elif pool is not None:
        corpus = Embeddings.from_array(corpus.take(pool))
    queries = encode_in_memory(encoder, dataset.queries, "query", max_tokens, rows)
    depth = min(cutoff(measures), len(corpus))
    searched = min(depth + drop_identical, len(corpus))
    rank_N = dataset.corpus.ids.rank_N
    index = open_exact(IndexConfig(), corpus, rank_N if pool is None else rank_N[pool])
    ids, scores = index.search(queries.take(np.arange(rows.size)), searched)
    if pool is not None:
        ids = np.where(ids < 0, ids, pool[ids])
    if drop_identical:
        found = Candidates.of_one(rows, ids, scores, "dense")
        found, _ = without_identical(found, dataset.queries, dataset.corpus, depth)
        ids = np.asarray(found.ids)
    return Evaluation(dataset.queries.id_strings(rows), per_query(measures, qrels, rows, ids))

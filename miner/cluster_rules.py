"""ClusterNS for a block of candidates: the cluster next door, and probable false negatives.

ClusterNS: arXiv 2305.09892, read for retrieval: the clusters are those of the corpus, and a query
stands where its positive does.
"""

from __future__ import annotations

import numpy as np

from ..core.candidates import PAD_ID, Candidates
from ..core.embeddings import Embeddings
from ..core.ids import I64
from ..core.tables import Qrels
from .cluster_masks import (
    Bool,
    centroid_scores,
    cluster_members,
    probable_false_negatives,
    second_nearest,
)
from .clusters import Clusters
from .vectors import Vectors


def next_door(
    candidates: Candidates, qrels: Qrels, rank_N: I64, clusters: Clusters, corpus: Embeddings
) -> Bool:
    """Candidates of the cluster second nearest to the query's positive, bool [Q, K].

    Of several positives the first by id counts; `rank_N` [N] is each corpus row's place in
    ascending id order. Every query must have one. Raises PyriteError if there is one cluster.
    """
    positives = qrels.first_positives(candidates.query_rows, rank_N)
    if (positives == PAD_ID).any():
        raise ValueError("a query has no positive to stand in for it")
    _, second = second_nearest(clusters, corpus.take(positives))
    return cluster_members(candidates.ids, clusters.assign, second)


def cluster_false_negatives(
    candidates: Candidates, qrels: Qrels, clusters: Clusters, vectors: Vectors
) -> Bool:
    """Candidates in a positive's cluster that score above its centroid, bool [Q, K].

    Of several positives each one's cluster counts. The scores must be inner products of the
    vectors; positives themselves may be marked as well.
    """
    out = np.zeros(candidates.ids.shape, dtype=bool)
    queries = vectors.of_queries(candidates.query_rows)
    for rows, docs in qrels.positives_in_turn(candidates.query_rows):
        own = clusters.assign[docs].astype(np.int64)
        level = centroid_scores(clusters, queries[rows], own)
        ids, scores = candidates.ids[rows], candidates.scores[rows]
        out[rows] |= probable_false_negatives(ids, scores, clusters.assign, own, level)
    return out

"""What clusters say about candidates: too many of one kind, from next door, or likely relevant.

ClusterNS: arXiv 2305.09892, read for retrieval. There a sentence is contrasted with the centroid
second nearest to it; here hard negatives are the documents of that cluster.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.candidates import I32
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..indexes.topk import exact_scores
from .clusters import Clusters, nearest_clusters

Bool = npt.NDArray[np.bool_]


def cluster_cap_reasons(ids_QK: I64, assign_N: I32, m: int, eligible_QK: Bool) -> Bool:
    """Eligible candidates beyond the first `m` of their cluster in each query, bool [Q, K].

    The order is that of the columns. A candidate that is not eligible is neither counted nor
    marked, so one that another rule turns down takes nobody's place. Raises PyriteError if m < 1.
    """
    if m < 1:
        raise PyriteError(f"filters.max_per_cluster={m} must be at least 1, or null for no cap")
    eligible = eligible_QK & (ids_QK >= 0)
    cluster = np.where(ids_QK >= 0, assign_N[np.maximum(ids_QK, 0)], -1)
    order = np.argsort(cluster, axis=1, kind="stable")
    cluster = np.take_along_axis(cluster, order, axis=1)
    counted = np.take_along_axis(eligible, order, axis=1)
    first = np.ones(cluster.shape, dtype=bool)
    first[:, 1:] = cluster[:, 1:] != cluster[:, :-1]
    total = np.cumsum(counted, axis=1)
    before = np.maximum.accumulate(np.where(first, total - counted, 0), axis=1)
    out = np.zeros(ids_QK.shape, dtype=bool)
    np.put_along_axis(out, order, counted & (total - before > m), axis=1)
    return out


def second_nearest(clusters: Clusters, vectors_QD: F32) -> tuple[I64, I64]:
    """The nearest and the second-nearest cluster of each vector, int64 [Q] each.

    The vectors are the queries' or their positives'. Raises PyriteError if there is one cluster.
    """
    both = nearest_clusters(clusters, vectors_QD, 2)
    return both[:, 0], both[:, 1]


def cluster_members(ids_QK: I64, assign_N: I32, cluster_Q: I64) -> Bool:
    """Candidates of each query's cluster, bool [Q, K]; with the second nearest: ClusterNS's."""
    own = assign_N[np.maximum(ids_QK, 0)] == cluster_Q[:, None]
    return np.asarray(own & (ids_QK >= 0))


def centroid_scores(clusters: Clusters, queries_QD: F32, cluster_Q: I64) -> F32:
    """Each query's similarity to the centroid of its cluster, correctly rounded, float32 [Q]."""
    table = Embeddings.from_array(clusters.centroids)
    return np.asarray(exact_scores(queries_QD, table, cluster_Q[:, None])[:, 0])


def probable_false_negatives(
    ids_QK: I64, scores_QK: F32, assign_N: I32, cluster_Q: I64, centroid_scores_Q: F32
) -> Bool:
    """Candidates of the query's own cluster that score above its centroid, bool [Q, K].

    `cluster_Q` is the nearest cluster of the query or of its positive, `centroid_scores_Q` the
    query's similarity to that centroid; `scores_QK` are on the same scale.
    """
    above = scores_QK > centroid_scores_Q[:, None]
    return np.asarray(cluster_members(ids_QK, assign_N, cluster_Q) & above)

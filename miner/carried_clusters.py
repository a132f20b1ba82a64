"""Clusters that a refresh carries on: k-means at first, then moved by each generation's vectors.

ClusterNS, arXiv 2305.09892, where every batch moves the centroids; here one pass over the documents
that k-means is trained on, with the vectors of the new weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import U64, combine, stream
from ..core.store import discard
from .clusters import SAMPLE, Clusters, assign_all, nearest_clusters, sample_rows
from .online_clusters import OnlineClusters, read_state, updated, write_state

FOLDER = "clusters"
# the paper's batches are of 256 to 512
BATCH = 512
_PURPOSE = 10


@dataclass(frozen=True, slots=True)
class Carried:
    """The state of a generation, and the clusters of all documents under its centroids."""

    state: OnlineClusters
    clusters: Clusters
    moved: bool

    def as_json(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "generation": self.state.generation,
            "moved": self.moved,
            **self.clusters.counts(),
        }


def carry(
    state: OnlineClusters,
    corpus: Embeddings,
    rank_N: I64,
    id_hashes_N: U64,
    rate: float,
    seed: int,
    sample: int = SAMPLE,
) -> Carried:
    """The next generation of `state`, by the vectors of `corpus`.

    At most `sample` documents, evenly spaced in id order, go by in batches of 512, in the order of
    a hash of (seed, id); each batch is assigned to the centroids as they are then, and moves them
    by `rate`. The order of the file decides nothing. The very vectors that the state has seen last
    move nothing. Memory: one batch. Raises PyriteError as `updated`.
    """
    moved = not corpus.identity or corpus.identity != state.vectors
    following = replace(state, generation=state.generation + 1, vectors=corpus.identity)
    if moved:
        for vectors in _batches(corpus, rank_N, id_hashes_N, seed, sample):
            assign = nearest_clusters(following.clusters, vectors, 1)[:, 0]
            # a generation is one step, however many batches it takes
            following = replace(
                updated(following, vectors, assign, rate), generation=following.generation
            )
    return Carried(following, assign_all(following.clusters, corpus), moved)


def _batches(
    corpus: Embeddings, rank_N: I64, id_hashes_N: U64, seed: int, sample: int
) -> Iterator[F32]:
    rows = sample_rows(rank_N, sample)
    noise = combine(stream(seed, 0, _PURPOSE), id_hashes_N[rows])
    rows = rows[np.argsort(noise, kind="stable")]
    for start in range(0, rows.size, BATCH):
        yield corpus.take(rows[start : start + BATCH])


def first_state(clusters: Clusters, corpus: Embeddings) -> OnlineClusters | None:
    """Generation 0: the k-means of `corpus`; None if its vectors are not of unit length."""
    if not clusters.spherical:
        return None
    seen = np.zeros(len(clusters), dtype=np.int64)
    return OnlineClusters(clusters.centroids, seen, vectors=corpus.identity)


def state_in(negatives: Path) -> OnlineClusters | None:
    """What a folder of negatives keeps; None if they were mined without clusters to carry on.

    Raises PyriteError if it is damaged.
    """
    folder = negatives / FOLDER
    return read_state(folder)[0] if folder.is_dir() else None


def keep_state(state: OnlineClusters | None, negatives: Path) -> None:
    """Write the state into a folder of negatives, whose manifest comes later; None: remove it."""
    folder = negatives / FOLDER
    if state is not None:
        write_state(state, folder)
    elif folder.is_dir():
        discard(folder)
        shutil.rmtree(folder)

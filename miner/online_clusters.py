"""Clusters that follow a model while it trains: unit centroids, moved a little by every batch.

ClusterNS, arXiv 2305.09892: online k-means with momentum. A centroid moves towards the mean of its
members and is brought back to unit length; the authors' code adds their sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.digest import digest_json
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.rng import U64, combine, stream
from ..core.store import Manifest, discard, read_array, write_array
from .clusters import Clusters

F64 = npt.NDArray[np.float64]
SCHEMA = 2
_PURPOSE = 9
_UNIT_SLACK = 0.01
# sums of integers do not depend on their order; the step is far below a float32's at length 1
_STEPS = 2.0**32


@dataclass(frozen=True, slots=True)
class OnlineClusters:
    """State of a generation: after so many updates, or refreshes of several updates each.

    `centroids` float32 [C, D], unit vectors; `counts` int64 [C], the members seen in all updates;
    `vectors` the key of those seen last, where they have one.
    """

    centroids: F32
    counts: I64
    generation: int = 0
    vectors: str = ""

    @property
    def clusters(self) -> Clusters:
        """For `nearest_clusters` and `second_nearest`; nothing is assigned."""
        return Clusters(self.centroids, np.empty(0, dtype=np.int32), spherical=True)


def start(vectors_BD: F32, id_hashes_B: U64, k: int, seed: int) -> OnlineClusters:
    """The first centroids, of a batch of unit vectors: generation 0.

    The first is the vector with the smallest hash of (seed, id); each next one is, among those not
    chosen yet, the least similar to the one chosen before it, ties to the smaller hash. The order
    of the batch decides nothing. Raises PyriteError unless 1 <= k <= B, and for vectors that are
    not of unit length.
    """
    if not 1 <= k <= len(vectors_BD):
        raise PyriteError(
            f"online clusters: k={k} of a batch of {len(vectors_BD)}; expected 1 <= k <= batch, so"
            " lower the number of clusters or raise the batch"
        )
    _check_unit(vectors_BD)
    order = np.argsort(combine(stream(seed, 0, _PURPOSE), id_hashes_B), kind="stable")
    vectors = vectors_BD[order].astype(np.float64)
    chosen = [0]
    free = np.ones(len(vectors), dtype=bool)
    for _ in range(k - 1):
        free[chosen[-1]] = False
        # einsum adds up each row alone, whatever the number of rows
        similarity = np.einsum("bd,d->b", vectors, vectors[chosen[-1]])
        chosen.append(int(np.argmin(np.where(free, similarity, np.inf))))
    return OnlineClusters(_unit(vectors[chosen]).astype(np.float32), np.zeros(k, dtype=np.int64))


def updated(state: OnlineClusters, vectors_BD: F32, assign_B: I64, rate: float) -> OnlineClusters:
    """The next generation: `c <- unit((1 - rate) * c + rate * mean of the members)`.

    `vectors_BD` are unit vectors, `assign_B` int64 [B] their clusters. A cluster without members
    stays as it is, and so does one whose members cancel it out. The order of the batch decides
    nothing. Raises PyriteError unless 0 <= rate <= 1, for a cluster that is not there, and for
    vectors that are not of unit length.
    """
    k = len(state.centroids)
    if not 0 <= rate <= 1:
        raise PyriteError(f"online clusters: rate={rate}; expected a share from 0 to 1")
    if assign_B.size and not 0 <= assign_B.min() <= assign_B.max() < k:
        raise PyriteError(f"online clusters: an assignment lies outside 0..{k - 1}")
    _check_unit(vectors_BD)
    counts = np.bincount(assign_B, minlength=k).astype(np.int64)
    sums = np.zeros(state.centroids.shape, dtype=np.int64)
    np.add.at(sums, assign_B, np.rint(vectors_BD.astype(np.float64) * _STEPS).astype(np.int64))
    means = sums / _STEPS / np.maximum(counts, 1)[:, None]
    old = state.centroids.astype(np.float64)
    moved = (1.0 - rate) * old + rate * means
    still = (counts == 0) | ~moved.any(axis=1)
    centroids = np.where(still[:, None], state.centroids, _unit(moved).astype(np.float32))
    return replace(
        state,
        centroids=centroids,
        counts=state.counts + counts,
        generation=state.generation + 1,
    )


def write_state(state: OnlineClusters, folder: Path) -> str:
    """Write a generation to `folder`, its manifest last; returns the key of its content."""
    discard(folder)
    write_array(folder / "centroids.npy", state.centroids)
    write_array(folder / "counts.npy", state.counts)
    manifest = Manifest.write(
        folder,
        schema=SCHEMA,
        kind="online-clusters",
        generation=state.generation,
        vectors=state.vectors,
    )
    return _key(manifest)


def read_state(folder: Path) -> tuple[OnlineClusters, str]:
    """A generation and the key of its content.

    Raises PyriteError if it is not complete, or its bytes are not those that were written.
    """
    manifest = Manifest.read(folder)
    if manifest is None or manifest.data.get("schema") != SCHEMA or not manifest.intact(folder):
        raise PyriteError(f"{folder}: no whole generation of clusters; start them anew")
    centroids = np.asarray(read_array(folder / "centroids.npy"))
    counts = np.asarray(read_array(folder / "counts.npy"))
    generation, vectors = int(manifest.data["generation"]), str(manifest.data["vectors"])
    return OnlineClusters(centroids, counts, generation, vectors), _key(manifest)


def _key(manifest: Manifest) -> str:
    return digest_json(
        [manifest.data[name] for name in ("schema", "generation", "vectors", "files")]
    )


def _check_unit(vectors: F32) -> None:
    off = np.abs(np.linalg.norm(vectors, axis=1) - 1.0)
    if vectors.size and not (off < _UNIT_SLACK).all():
        raise PyriteError(
            f"online clusters: vector {int(off.argmax())} is not of unit length; normalise the"
            " vectors (encoder.normalize=true)"
        )


def _unit(vectors: F64) -> F64:
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))

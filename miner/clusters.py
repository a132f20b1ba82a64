"""Clusters of the corpus by k-means: fitted once, kept by content key, assigned exactly."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.candidates import I32
from ..core.digest import digest_array, digest_json
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.rng import stream
from ..core.store import Manifest, discard, read_array, write_array
from ..indexes.topk import exact_scores, order_rows

logger = logging.getLogger(__name__)

SCHEMA = 1
NITER = 20
SAMPLE = 131_072
_PURPOSE = 2
_ROWS = 4096
_UNIT_SLACK = 0.01  # float16 vectors are a little off the unit sphere


@dataclass(frozen=True, slots=True)
class Clusters:
    """C clusters of N documents.

    `centroids` float32 [C, D], unit vectors if `spherical`; `assign` int32 [N], each document's
    cluster, 0 to C - 1; a cluster may be empty. `key` covers the bytes of both.
    """

    centroids: F32
    assign: I32
    spherical: bool
    key: str = ""

    def __len__(self) -> int:
        return int(self.centroids.shape[0])

    def sizes(self) -> I64:
        """Documents in each cluster, int64 [C]."""
        return np.bincount(self.assign, minlength=len(self)).astype(np.int64)

    def counts(self) -> dict[str, int]:
        """What a manifest says of the sizes."""
        sizes = self.sizes()
        return {
            "documents": int(self.assign.size),
            "clusters": len(self),
            "empty": int((sizes == 0).sum()),
            "largest": int(sizes.max()),
        }


def fit_clusters(
    corpus: Embeddings,
    rank_N: I64,
    k: int,
    seed: int,
    niter: int = NITER,
    sample: int = SAMPLE,
    device: str = "cpu",
) -> Clusters:
    """k-means with `k` centroids: spherical for unit vectors, by squared distance for others.

    Trained on at most `sample` documents, evenly spaced in id order (`rank_N` [N] is each row's
    place there), so the order of the file changes no centroid; every document is then assigned to
    its nearest one, ties to the lower number. Memory: the sample's vectors. One thread trains: the
    same vectors give the same bytes on one machine. `device` cuda: on FAISS's first GPU, which
    rounds differently. Raises PyriteError unless 1 <= k <= min(N, sample), and for a missing GPU.
    """
    if device != "cpu":
        from ..indexes.proposers import faiss_gpus

        faiss_gpus(device, "filters.cluster_device")
    size = min(len(corpus), sample)
    if not 1 <= k <= size:
        raise PyriteError(
            f"filters.clusters={k}, but {size} documents are there to train on;"
            f" set filters.clusters to 1..{size}"
        )
    vectors = corpus.take(sample_rows(rank_N, size))
    spherical = bool((np.abs(np.linalg.norm(vectors, axis=1) - 1.0) < _UNIT_SLACK).all())
    centroids = _train(vectors, k, seed, niter, spherical, device)
    return assign_all(Clusters(centroids, np.empty(0, dtype=np.int32), spherical), corpus)


def sample_rows(rank_N: I64, sample: int) -> I64:
    """Rows of at most `sample` documents, evenly spaced in id order, int64, in that order."""
    size = min(rank_N.size, sample)
    by_rank = np.argsort(rank_N, kind="stable").astype(np.int64)
    return np.asarray(by_rank[np.arange(size) * rank_N.size // size])


def assign_all(clusters: Clusters, corpus: Embeddings) -> Clusters:
    """The centroids of `clusters` with every document assigned anew; the key is of both."""
    assign = np.empty(len(corpus), dtype=np.int32)
    for start, block in corpus.blocks(_ROWS):
        assign[start : start + len(block)] = nearest_clusters(clusters, block, 1)[:, 0]
    key = digest_json([digest_array(array) for array in (clusters.centroids, assign)])
    return Clusters(clusters.centroids, assign, clusters.spherical, key)


def _train(vectors: F32, k: int, seed: int, niter: int, spherical: bool, device: str) -> F32:

    import faiss

    means = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=niter,
        seed=int(stream(seed, 0, _PURPOSE)) >> 33,
        spherical=spherical,
        # the sample is bounded already; FAISS would draw from it again, or warn
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    if device != "cpu":
        # given to the constructor, 1 would mean all GPUs
        means.gpu = 1
        means.set_index()
    with _one_thread():
        means.train(np.ascontiguousarray(vectors))
    return np.ascontiguousarray(means.centroids, dtype=np.float32)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:

    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def nearest_clusters(clusters: Clusters, vectors_BD: F32, n: int) -> I64:
    """The `n` nearest centroids of each vector, nearest first, int64 [B, n]; ties to the lower.

    Nearest: the largest `x . c` if spherical, else the largest `x . c - |c|^2 / 2`, correctly
    rounded, so neither the block size nor a library's order of summation changes an assignment.
    Raises PyriteError if there are fewer than `n` clusters.
    """
    if n > len(clusters):
        raise PyriteError(
            f"the {n} nearest of {len(clusters)} clusters were asked for;"
            f" set filters.clusters to at least {n}"
        )
    centroids, vectors = clusters.centroids, vectors_BD
    if not clusters.spherical:
        half = -0.5 * np.square(centroids.astype(np.float64)).sum(axis=1, keepdims=True)
        centroids = np.hstack((centroids, half.astype(np.float32)))
        vectors = np.hstack((vectors, np.ones((len(vectors), 1), dtype=np.float32)))
    ids = _proposed(vectors, centroids, n)
    exact = exact_scores(vectors, Embeddings.from_array(centroids), ids)
    return order_rows(ids, exact, np.arange(len(centroids)), n)[0]


def _proposed(vectors: F32, centroids: F32, n: int) -> I64:
    """Columns that hold the true `n` best of each row whatever the rounding, int64 [B, width]."""
    products = vectors @ centroids.T
    last = centroids.shape[0] - n
    nth = np.partition(products, last, axis=1)[:, last]
    # a float32 product is off by (D + 1) * 2^-24 * |x| |c| at most; one more unit for equal scores
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(centroids, axis=1).max()
    slack = 2.02 * (vectors.shape[1] + 4) * 2.0**-24 * norms
    width = int((products >= (nth - slack)[:, None]).sum(axis=1).max(initial=n))
    return np.argpartition(-products, width - 1, axis=1)[:, :width].astype(np.int64)


def open_clusters(
    corpus: Embeddings,
    rank_N: I64,
    k: int,
    seed: int,
    cache: Path,
    niter: int = NITER,
    sample: int = SAMPLE,
    device: str = "cpu",
) -> Clusters:
    """`fit_clusters`, or what an earlier run kept in the cache for the same vectors and settings.

    Raises PyriteError if the vectors have no key, and what `fit_clusters` raises.
    """
    if not corpus.identity:
        raise PyriteError("clusters: vectors without a key cannot be kept; call fit_clusters")
    settings: dict[str, int | str] = {"k": k, "seed": seed, "niter": niter, "sample": sample}
    settings["device"] = device
    rank = digest_array(rank_N)
    key = digest_json({"schema": SCHEMA, "vectors": corpus.identity, "rank": rank, **settings})
    folder = cache / "clusters" / key
    manifest = Manifest.read(folder)
    if manifest is not None and not manifest.intact(folder):
        logger.warning("%s does not match its manifest: clustering again", folder)
        manifest = None
    if manifest is None:
        discard(folder)
        found = fit_clusters(corpus, rank_N, k, seed, niter, sample, device)
        manifest = _keep(found, folder, settings)
    centroids: F32 = np.asarray(read_array(folder / "centroids.npy"))
    assign: npt.NDArray[np.int32] = read_array(folder / "assign.npy")
    content = digest_json(manifest.data["files"])
    return Clusters(centroids, assign, bool(manifest.data["spherical"]), content)


def _keep(clusters: Clusters, folder: Path, settings: dict[str, int | str]) -> Manifest:
    write_array(folder / "centroids.npy", clusters.centroids)
    write_array(folder / "assign.npy", clusters.assign)
    return Manifest.write(
        folder,
        schema=SCHEMA,
        kind="clusters",
        spherical=clusters.spherical,
        settings=settings,
        counts=clusters.counts(),
    )

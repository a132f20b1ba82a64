from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrite.core.digest import u64_array
from pyrite.core.errors import PyriteError
from pyrite.core.rng import combine, stream
from pyrite.core.tables import Qrels
from pyrite.miner.ngame import (
    Points,
    balanced_clusters,
    cluster_size,
    known_positive_pairs,
    ngame_batches,
)

I64 = npt.NDArray[np.int64]


def points(count: int, seed: int, dimension: int = 5) -> Points:
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Points(vectors, u64_array([f"q{i}" for i in range(count)]), generator.permutation(count))


def turned(source: Points, order: I64) -> Points:
    return Points(source.vectors[order], source.id_hashes[order], source.rank[order])


def split_oracle(source: Points, size: int, seed: int, epoch: int) -> list[list[int]]:
    """Balanced 2-means, part by part and point by point, in plain Python."""
    vectors = [[float(x) for x in row] for row in source.vectors]
    rank, hashes = source.rank.tolist(), source.id_hashes

    def unit(rows: list[int]) -> list[float]:
        sums = [sum(vectors[r][d] for r in rows) for d in range(len(vectors[0]))]
        norm = sum(x * x for x in sums) ** 0.5 or 1.0
        return [x / norm for x in sums]

    def halve(part: list[int], level: int) -> tuple[list[int], list[int]]:
        root = combine(stream(seed, epoch, 6), np.asarray(level, dtype=np.uint64))
        key = {r: int(combine(root, hashes[r : r + 1])[0]) for r in part}
        part = sorted(part, key=lambda r: (key[r], rank[r]))
        place = {r: at for at, r in enumerate(part)}
        middle = (len(part) + 1) // 2
        left, right = unit(part[:1]), unit(part[1:2])
        now = part
        for _ in range(10):
            lean = {
                r: sum(v * (a - b) for v, a, b in zip(vectors[r], left, right, strict=True))
                for r in part
            }
            now = sorted(part, key=lambda r: (-round(lean[r], 9), place[r]))
            left, right = unit(now[:middle]), unit(now[middle:])
        return now[:middle], now[middle:]

    parts = [list(range(len(vectors)))]
    level = 0
    while max(map(len, parts)) > size:
        parts = [half for part in parts for half in halve(part, level)]
        level += 1
    return sorted(sorted(part) for part in parts)


def members(labels: I64) -> list[list[int]]:
    return sorted(np.flatnonzero(labels == c).tolist() for c in np.unique(labels))


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 100), st.integers(0, 3))
def test_clusters_equal_a_plain_recursion(count: int, size: int, seed: int, epoch: int) -> None:
    source = points(count, seed)
    labels = balanced_clusters(source, size, seed, epoch)
    if size == 1:
        assert members(labels) == [[i] for i in range(count)]
    else:
        assert members(labels) == split_oracle(source, size, seed, epoch)
    sizes = np.bincount(labels)
    assert sizes.min() >= 1
    assert sizes.max() <= size
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(1, 60), st.data(), st.integers(0, 20))
def test_each_point_is_used_once_an_epoch(count: int, data: st.DataObject, epoch: int) -> None:
    batch = data.draw(st.integers(1, count))
    cluster = data.draw(st.integers(1, batch))
    source = points(count, 1)
    found = ngame_batches(source, batch, cluster, 7, epoch)
    assert found.full.shape == (count // batch, batch)
    assert found.full.dtype == found.rest.dtype == np.int64
    used = np.concatenate((found.full.ravel(), found.rest))
    assert sorted(used.tolist()) == list(range(count))
    order = np.random.default_rng(epoch).permutation(count)
    other = ngame_batches(turned(source, order), batch, cluster, 7, epoch)
    assert np.array_equal(order[other.full], found.full)
    assert np.array_equal(order[other.rest], found.rest)


def test_a_batch_is_a_union_of_clusters() -> None:
    source = points(64, 3)
    labels = balanced_clusters(source, 4, 5, 2)
    for batch in ngame_batches(source, 16, 4, 5, 2).full:
        assert np.bincount(labels[batch]).tolist().count(4) == 4


def test_clusters_of_one_are_a_random_permutation() -> None:
    source = points(400, 3)
    found = ngame_batches(source, 400, 1, 0, 0).full[0]
    blind = replace(source, vectors=np.zeros_like(source.vectors))
    assert np.array_equal(ngame_batches(blind, 400, 1, 0, 0).full[0], found)
    other_seed = ngame_batches(source, 400, 1, 1, 0).full[0]
    other_epoch = ngame_batches(source, 400, 1, 0, 1).full[0]
    for other in (np.arange(400), source.rank, other_seed, other_epoch):
        assert abs(np.corrcoef(np.argsort(found), np.argsort(other))[0, 1]) < 0.2


def test_larger_clusters_make_harder_batches() -> None:
    source = points(512, 3)
    means = []
    for cluster in (1, 2, 4, 8, 16, 32):
        found = ngame_batches(source, 32, cluster, 0, 0).full
        vectors = source.vectors[found]
        products = np.einsum("bid,bjd->bij", vectors, vectors)
        means.append(float(products[:, ~np.eye(32, dtype=bool)].mean()))
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.3


def test_two_groups_are_told_apart() -> None:
    side = np.repeat([0, 1], 8)
    vectors = np.where(side[:, None] == 0, [1.0, 0.1], [0.1, 1.0]).astype(np.float32)
    vectors[:, 0] += np.arange(16, dtype=np.float32) / 100
    source = Points(vectors, u64_array([str(i) for i in range(16)]), np.arange(16))
    for seed in range(5):
        labels = balanced_clusters(source, 8, seed, 0)
        assert members(labels) == [list(range(8)), list(range(8, 16))]


def test_equal_vectors_still_split_evenly() -> None:
    source = replace(points(11, 0), vectors=np.zeros((11, 3), dtype=np.float32))
    labels = balanced_clusters(source, 3, 0, 0)
    assert sorted(np.bincount(labels).tolist()) == [2, 3, 3, 3]


def test_cluster_sizes_double_on_schedule() -> None:
    epochs = (0, 9, 10, 19, 20, 25, 50, 75, 100, 125, 150, 199, 200, 999)
    assert [cluster_size(e, 1600) for e in epochs] == [
        1, 1, 2, 2, 4, 8, 16, 32, 64, 128, 256, 256, 512, 512,
    ]  # fmt: skip
    assert cluster_size(200, 100) == 100
    assert [cluster_size(e, 64, (1, 2)) for e in range(4)] == [1, 2, 4, 4]


@pytest.mark.parametrize(("batch", "cluster"), [(4, 5), (4, 0), (9, 2)])
def test_impossible_sizes_are_refused(batch: int, cluster: int) -> None:
    with pytest.raises(PyriteError, match=f"cluster={cluster}, batch={batch} and 8 points"):
        ngame_batches(points(8, 0), batch, cluster, 0, 0)
    with pytest.raises(PyriteError, match="cluster=0"):
        balanced_clusters(points(8, 0), 0, 0, 0)


TRIPLES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 2)),
    max_size=10,
    unique_by=lambda t: t[:2],
)
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=6)


@given(TRIPLES, PAIRS)
def test_known_positive_pairs_equal_a_plain_loop(
    judged: list[tuple[int, int, int]], pairs: list[tuple[int, int]]
) -> None:
    query, doc, grade = np.array(judged, dtype=np.int64).reshape(-1, 3).T
    qrels = Qrels.build(query, doc, grade, 4)
    known = {(q, d) for q, d, g in judged if g >= 1}
    queries, docs = np.array(pairs, dtype=np.int64).T
    found = known_positive_pairs(queries, docs, qrels)
    expected = [
        [i != j and (q, d) in known for j, (_, d) in enumerate(pairs)]
        for i, (q, _) in enumerate(pairs)
    ]
    assert found.tolist() == expected

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.digest import u64_array
from pyrite.core.embeddings import Embeddings
from pyrite.core.ids import IdIndex
from pyrite.core.rng import combine, stream
from pyrite.miner.random_source import random_candidates, random_rows

I64 = npt.NDArray[np.int64]


def hashes(queries: int) -> npt.NDArray[np.uint64]:
    return u64_array([f"q{i}" for i in range(queries)])


def rows_oracle(root: np.uint64, size: int, depth: int) -> list[int]:
    """Places in id order: counters hashed one at a time, or a whole small corpus sorted."""

    def bits(counter: int) -> int:
        return int(combine(np.asarray(root), np.asarray(counter, dtype=np.uint64)))

    depth = min(depth, size)
    if size <= 4 * depth:
        return sorted(range(size), key=bits)[:depth]
    found: list[int] = []
    counter = 0
    while len(found) < depth:
        place = bits(counter) % size
        counter += 1
        if place not in found:
            found.append(place)
    return found


@given(
    st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**63 - 1), st.integers(0, 5), st.data()
)
def test_random_rows_equal_a_plain_loop(
    size: int, depth: int, seed: int, generation: int, data: st.DataObject
) -> None:
    by_rank = data.draw(st.permutations(range(size)))
    queries = hashes(2)
    roots = combine(stream(seed, generation, 1), queries)
    found = random_rows(queries, np.array(by_rank), depth, seed, generation)
    expected = [[by_rank[p] for p in rows_oracle(root, size, depth)] for root in roots]
    assert found.tolist() == expected


@given(st.integers(1, 200), st.integers(1, 300), st.integers(0, 1000))
def test_rows_are_distinct_and_as_many_as_there_can_be(size: int, depth: int, seed: int) -> None:
    found = random_rows(hashes(3), np.arange(size), depth, seed, 0)
    assert found.shape == (3, min(depth, size))
    for row in found.tolist():
        assert len(set(row)) == len(row)
        assert set(row) <= set(range(size))


@pytest.mark.parametrize(("size", "depth"), [(40, 5), (41, 10), (16, 5), (12, 3), (7, 6)])
def test_every_document_is_as_likely_at_every_place(size: int, depth: int) -> None:
    queries = 3000
    found = random_rows(hashes(queries), np.arange(size), depth, 11, 0)
    expected = queries / size
    for place in range(depth):
        counts = np.bincount(found[:, place], minlength=size)
        # mean size - 1, deviation sqrt(2 (size - 1)): seven deviations above the mean
        limit = (size - 1) + 7 * np.sqrt(2 * (size - 1))
        assert float(((counts - expected) ** 2 / expected).sum()) < limit


def test_queries_draw_on_their_own() -> None:
    together = random_rows(hashes(6), np.arange(50), 4, 0, 0)
    alone = [random_rows(hashes(6)[i : i + 1], np.arange(50), 4, 0, 0)[0] for i in range(6)]
    assert np.array_equal(together, np.stack(alone))
    assert len({tuple(row) for row in together.tolist()}) == 6


@pytest.mark.parametrize(("seed", "generation"), [(1, 0), (0, 1)])
def test_another_seed_or_generation_draws_other_rows(seed: int, generation: int) -> None:
    first = random_rows(hashes(4), np.arange(500), 5, 0, 0)
    assert not np.array_equal(first, random_rows(hashes(4), np.arange(500), 5, seed, generation))


def scene(order: I64) -> tuple[list[str], Embeddings, I64, npt.NDArray[np.float32]]:
    """A corpus of 90 ids, its rows in the given order, and three query vectors."""
    generator = np.random.default_rng(4)
    names = [f"d{i}" for i in range(90)]
    # few values, so that many scores tie
    vectors = generator.integers(-1, 2, (90, 3)).astype(np.float32)
    queries = generator.integers(-1, 2, (3, 3)).astype(np.float32)
    ids = [names[i] for i in order]
    return ids, Embeddings.from_array(vectors[order]), IdIndex.build(ids, "ids").rank_N, queries


@pytest.mark.parametrize("depth", [5, 40, 500])
def test_random_candidates_are_scored_and_ordered(depth: int) -> None:
    ids, corpus, rank, queries = scene(np.arange(90))
    found = random_candidates(np.arange(3), hashes(3), queries, corpus, rank, depth, 0, 2)
    found.check()
    assert (found.sources, found.generation) == (("random",), 2)
    assert not found.source_rank.any()
    assert found.ids.shape == (3, min(depth, 90))
    vectors = corpus.take(np.arange(90))
    for at, row in enumerate(found.ids.tolist()):
        scores = {d: sum(map(float, queries[at] * vectors[d])) for d in row}
        assert found.scores[at].tolist() == [scores[d] for d in row]
        assert row == sorted(row, key=lambda d: (-scores[d], ids[d]))
    drawn = random_rows(hashes(3), np.argsort(rank), depth, 0, 2)
    assert np.array_equal(np.sort(found.ids), np.sort(drawn))


@pytest.mark.parametrize("depth", [5, 40])
def test_random_candidates_do_not_depend_on_the_order_of_the_corpus(depth: int) -> None:
    def run(order: I64) -> list[list[str]]:
        ids, corpus, rank, queries = scene(order)
        found = random_candidates(np.arange(3), hashes(3), queries, corpus, rank, depth, 0)
        return [[ids[d] for d in row] for row in found.ids.tolist()]

    assert run(np.random.default_rng(9).permutation(90)) == run(np.arange(90))

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.digest import u64, u64_array
from pyrite.core.rng import combine, gumbel, stream
from pyrite.miner.draw import draw, first_draw_probability, noise_bits
from pyrite.miner.samplers import SamplerConfig, Scored, log_weights

F32 = npt.NDArray[np.float32]
MASK = 2**64 - 1
WEIGHT = st.floats(-5, 5, width=32) | st.just(-math.inf)
ROW = st.lists(st.tuples(WEIGHT, st.integers(0, MASK)), min_size=1, max_size=10)


def row_arrays(row: list[tuple[float, int]]) -> tuple[F32, npt.NDArray[np.uint64]]:
    weights = np.array([[w for w, _ in row]], dtype=np.float32)
    return weights, np.array([[b for _, b in row]], dtype=np.uint64)


def ranks(row: list[tuple[float, int]]) -> npt.NDArray[np.int64]:
    return np.arange(len(row), dtype=np.int64)[None, :]


def draw_oracle(weights: list[float], noise: list[float], ties: list[int], n: int) -> list[int]:
    left = [i for i, w in enumerate(weights) if w > -math.inf]
    chosen = sorted(left, key=lambda i: (-(weights[i] + noise[i]), ties[i]))[:n]
    return chosen + [-1] * (n - len(chosen))


@given(ROW, st.integers(1, 12))
def test_draw_equals_a_plain_sort(row: list[tuple[float, int]], n: int) -> None:
    weights, bits = row_arrays(row)
    ties = np.array([[7 * i % 11 for i in range(len(row))]], dtype=np.int64)
    noise = gumbel(bits)[0].tolist()
    expected = draw_oracle(weights[0].tolist(), noise, ties[0].tolist(), n)
    assert draw(weights, bits, ties, n).tolist() == [expected]


def test_many_draws_equal_a_plain_sort() -> None:
    generator = np.random.default_rng(2)
    weights = generator.normal(0, 2, (300, 12)).astype(np.float32)
    weights[generator.random(weights.shape) < 0.2] = -np.inf
    bits = generator.integers(0, 2**64, weights.shape, dtype=np.uint64)
    ties = np.tile(np.arange(12), (300, 1))
    noise = gumbel(bits).tolist()
    expected = [draw_oracle(w, g, list(range(12)), 11) for w, g in zip(weights, noise, strict=True)]
    assert draw(weights, bits, ties, 11).tolist() == expected


@given(ROW, st.integers(1, 12))
def test_draw_is_distinct_padded_at_the_end_and_never_impossible(
    row: list[tuple[float, int]], n: int
) -> None:
    weights, bits = row_arrays(row)
    columns = draw(weights, bits, ranks(row), n)[0].tolist()
    found = [c for c in columns if c >= 0]
    possible = [i for i, (w, _) in enumerate(row) if w > -math.inf]
    assert len(columns) == n
    assert columns == found + [-1] * (n - len(found))
    assert len(set(found)) == len(found) == min(n, len(possible))
    assert set(found) <= set(possible)


@given(ROW)
def test_drawing_as_many_as_are_allowed_returns_them_all(row: list[tuple[float, int]]) -> None:
    weights, bits = row_arrays(row)
    allowed = [i for i, (w, _) in enumerate(row) if w > -math.inf]
    if allowed:
        assert sorted(draw(weights, bits, ranks(row), len(allowed))[0].tolist()) == allowed


@given(st.lists(ROW, min_size=1, max_size=4), st.integers(1, 4))
def test_rows_are_drawn_on_their_own(rows: list[list[tuple[float, int]]], n: int) -> None:
    width = max(len(r) for r in rows)
    padded = [r + [(-math.inf, 0)] * (width - len(r)) for r in rows]
    alone = [draw(*row_arrays(r), ranks(r), n)[0].tolist() for r in padded]
    arrays = [row_arrays(r) for r in padded]
    together = draw(
        np.concatenate([w for w, _ in arrays]),
        np.concatenate([b for _, b in arrays]),
        np.concatenate([ranks(r) for r in padded]),
        n,
    )
    assert together.tolist() == alone


def test_equal_keys_are_ordered_by_the_tie_column() -> None:
    weights = np.zeros((1, 4), dtype=np.float32)
    bits = np.full((1, 4), 99, dtype=np.uint64)
    ties = np.array([[30, 10, 40, 20]], dtype=np.int64)
    assert draw(weights, bits, ties, 3).tolist() == [[1, 3, 0]]


@pytest.mark.parametrize("best", [0, 1, MASK - 1, MASK])
@pytest.mark.parametrize("worst", [0, 1, MASK - 1, MASK])
def test_no_noise_moves_a_topk_draw(best: int, worst: int) -> None:
    view = Scored(
        np.array([[3.0, 2.0, 1.0]], dtype=np.float32),
        np.zeros((1, 3), dtype=np.uint16),
        np.array([1.0], dtype=np.float32),
    )
    weights = log_weights(view, SamplerConfig(name="topk"))
    bits = np.array([[best, worst, best]], dtype=np.uint64)
    assert draw(weights, bits, np.array([[2, 1, 0]]), 3).tolist() == [[0, 1, 2]]


def test_a_deep_topk_draw_is_the_rank_order() -> None:
    depth = 2000
    view = Scored(
        np.zeros((3, depth), dtype=np.float32),
        np.zeros((3, depth), dtype=np.uint16),
        np.zeros(3, dtype=np.float32),
    )
    bits = combine(stream(5, 0), np.arange(3 * depth).reshape(3, depth))
    weights = log_weights(view, SamplerConfig(name="topk"))
    found = draw(weights, bits, np.zeros((3, depth), dtype=np.int64), depth)
    assert np.array_equal(found, np.broadcast_to(np.arange(depth), (3, depth)))


@given(st.lists(WEIGHT, min_size=1, max_size=8))
def test_first_draw_probability_is_a_softmax(weights: list[float]) -> None:
    found = first_draw_probability(np.array([weights], dtype=np.float32))[0]
    total = math.fsum(math.exp(w) for w in weights)
    expected = [math.exp(w) / total if total else 0.0 for w in weights]
    assert found == pytest.approx(expected, abs=1e-6)


def test_first_draw_probability_of_far_weights_does_not_underflow() -> None:
    weights = np.array([[-1250.0, -800.0, -np.inf], [-np.inf] * 3], dtype=np.float32)
    assert first_draw_probability(weights).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def softmax(weights: list[float]) -> list[float]:
    total = math.fsum(math.exp(w) for w in weights)
    return [math.exp(w) / total for w in weights]


def many_draws(weights: list[float], n: int, draws: int) -> npt.NDArray[np.int64]:
    """One draw for each of many seeds, all for the same query and documents."""
    query = u64_array(["q"])
    docs = u64_array([f"d{i}" for i in range(len(weights))])[None, :]
    bits = np.concatenate([noise_bits(seed, 0, query, docs) for seed in range(draws)])
    tiled = np.tile(np.array(weights, dtype=np.float32), (draws, 1))
    ties = np.tile(np.arange(len(weights)), (draws, 1))
    return draw(tiled, bits, ties, n)


def chi_square(counts: list[int], chances: list[float], total: int) -> float:
    pairs = zip(counts, chances, strict=True)
    return sum((c - total * p) ** 2 / (total * p) for c, p in pairs)


def test_first_draws_follow_the_softmax() -> None:
    weights = [0.0, 1.0, -1.0, 0.5, 2.0]
    draws = 12_000
    first = many_draws([*weights, -math.inf], 1, draws)[:, 0]
    counts = np.bincount(first, minlength=6).tolist()
    assert counts[5] == 0
    # 4 degrees of freedom: 40 has a chance below one in ten million
    assert chi_square(counts[:5], softmax(weights), draws) < 40


def test_ordered_pairs_follow_sampling_without_replacement() -> None:
    weights = [0.0, 1.0, -0.5, 0.5]
    draws = 6000
    p = softmax(weights)
    pairs = list(itertools.permutations(range(4), 2))
    found = many_draws(weights, 2, draws).tolist()
    counts = [found.count(list(pair)) for pair in pairs]
    expected = [p[i] * p[j] / (1 - p[i]) for i, j in pairs]
    assert math.fsum(expected) == pytest.approx(1.0)
    # 11 degrees of freedom: 60 has a chance below one in ten million
    assert chi_square(counts, expected, draws) < 60


def test_noise_is_a_hash_of_seed_generation_query_and_document() -> None:
    queries, docs = ["q1", "q2", "q3"], [["a", "b"], ["b", "a"], ["a", "c"]]
    bits = noise_bits(3, 1, u64_array(queries), np.stack([u64_array(row) for row in docs])).tolist()
    for at, query in enumerate(queries):
        root = combine(stream(3, 1), np.asarray(u64(query), dtype=np.uint64))
        for column, doc in enumerate(docs[at]):
            assert bits[at][column] == int(combine(root, np.asarray(u64(doc), dtype=np.uint64)))


def test_noise_changes_with_each_of_its_inputs() -> None:
    queries, docs = u64_array(["q1", "q2"]), np.tile(u64_array(["a", "b"]), (2, 1))
    found = [noise_bits(s, g, queries, docs).tolist() for s in (0, 1) for g in (0, 1)]
    assert len({b for block in found for row in block for b in row}) == 2 * 2 * 2 * 2

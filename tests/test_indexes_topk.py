from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyrite.core.candidates import Candidates
from pyrite.core.embeddings import Embeddings
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.indexes import topk
from pyrite.indexes.topk import exact_scores, order_rows

DOCS = 7
INF = float("inf")
PAIRS = st.tuples(
    st.integers(-1, DOCS - 1), st.sampled_from([-INF, -1.5, -0.0, 0.0, 0.5, 1.0, 1e30])
)


def order_oracle(
    rows: list[list[tuple[int, float]]], rank: list[int], k: int
) -> tuple[list[list[int]], list[list[float]]]:
    ids, scores = [], []
    for row in rows:
        real = sorted((p for p in row if p[0] >= 0), key=lambda p: (-p[1], rank[p[0]]))[:k]
        real += [(-1, -INF)] * (k - len(real))
        ids.append([doc for doc, _ in real])
        scores.append([score for _, score in real])
    return ids, scores


@given(
    width=st.integers(0, 9),
    k=st.integers(1, 12),
    rank=st.permutations(range(DOCS)),
    data=st.data(),
)
def test_order_is_sorted_by_score_then_id(
    width: int, k: int, rank: list[int], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.lists(PAIRS, min_size=width, max_size=width), max_size=4))
    ids = np.array([[doc for doc, _ in row] for row in rows], dtype=np.int64)
    scores = np.array([[score for _, score in row] for row in rows], dtype=np.float32)
    shape = (len(rows), width)
    found_ids, found_scores = order_rows(
        ids.reshape(shape), scores.reshape(shape), np.array(rank), k
    )
    expected_ids, expected_scores = order_oracle(rows, rank, k)
    assert found_ids.shape == found_scores.shape == (len(rows), k)
    assert found_scores.dtype == np.float32
    assert found_ids.tolist() == expected_ids
    np.testing.assert_array_equal(
        found_scores, np.array(expected_scores, dtype=np.float32).reshape(len(rows), k)
    )


def test_ties_go_to_the_smaller_id_and_not_to_the_smaller_row() -> None:
    ids = np.array([[0, 1, 2, -1], [2, -1, 1, 0]])
    scores = np.array([[1, 1, 1, 9], [1, 9, 1, 2]], dtype=np.float32)
    found, found_scores = order_rows(ids, scores, np.array([2, 1, 0]), 5)
    assert found.tolist() == [[2, 1, 0, -1, -1], [0, 2, 1, -1, -1]]
    assert found_scores.tolist() == [[1, 1, 1, -INF, -INF], [2, 1, 1, -INF, -INF]]
    assert found.dtype == np.int64


def random_case(
    dimension: int, seed: int = 0, docs: int = 50, shard_rows: int = 16
) -> tuple[F32, Embeddings, F32]:
    random = np.random.default_rng(seed)
    corpus = random.standard_normal((docs, dimension)).astype(np.float32)
    queries = random.standard_normal((5, dimension)).astype(np.float32)
    shards = tuple(corpus[i : i + shard_rows] for i in range(0, docs, shard_rows))
    return queries, Embeddings(shards, shard_rows, ""), corpus


def true_scores(queries: F32, corpus: F32, ids: I64) -> F32:
    """Each product exact in float64, summed without any rounding, rounded once at the end."""
    rows = []
    for query, row in zip(queries.astype(np.float64), ids, strict=True):
        row_scores = []
        for doc in row:
            products = (query * corpus[doc].astype(np.float64)).tolist()
            row_scores.append(np.float32(math.fsum(products)) if doc >= 0 else -INF)
        rows.append(row_scores)
    return np.array(rows, dtype=np.float32).reshape(ids.shape)


@pytest.mark.parametrize("dimension", [1, 3, 8, 9, 129, 384])
def test_exact_scores_are_the_rounded_truth_however_they_are_cut(
    dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, corpus, matrix = random_case(dimension)
    ids = np.random.default_rng(1).integers(-1, 50, size=(5, 23))
    expected = true_scores(queries, matrix, ids)
    per_score = 20 * dimension
    # one score at a time, part of a row, a row, some rows, everything
    for limit in (1, per_score * 4, per_score * 23, per_score * 60, 64 << 20):
        monkeypatch.setattr(topk, "RESCORE_BYTES", limit)
        assert exact_scores(queries, corpus, ids).tobytes() == expected.tobytes()
    for step in (1, 2, 3):
        cut = [
            exact_scores(queries[i : i + step], corpus, ids[i : i + step])
            for i in range(0, 5, step)
        ]
        assert np.concatenate(cut).tobytes() == expected.tobytes()
    for column in range(23):
        one = exact_scores(queries, corpus, ids[:, column : column + 1])
        assert one.tobytes() == np.ascontiguousarray(expected[:, [column]]).tobytes()


def test_exact_scores_do_not_cancel_as_float32_does() -> None:
    # added up in float32 the large products would swallow the small one
    query = np.array([[1e4, 1.0, -1e4]], dtype=np.float32)
    corpus = Embeddings.from_array(np.array([[1e4, 0.25, 1e4]], dtype=np.float32))
    assert exact_scores(query, corpus, np.array([[0, -1]])).tolist() == [[0.25, -INF]]


def test_padding_scores_minus_infinity_and_nothing_may_be_asked() -> None:
    queries, corpus, _ = random_case(4)
    scores = exact_scores(queries, corpus, np.full((5, 3), -1))
    assert scores.dtype == np.float32
    assert (scores == -INF).all()
    assert exact_scores(queries, corpus, np.empty((5, 0), dtype=np.int64)).shape == (5, 0)
    assert exact_scores(queries[:0], corpus, np.empty((0, 3), dtype=np.int64)).shape == (0, 3)


@dataclass(frozen=True)
class Watched:
    """Embeddings that remember how many scores were asked for at a time."""

    inner: Embeddings
    sizes: list[int]

    def take(self, rows: I64) -> F32:
        self.sizes.append(rows.size)
        return self.inner.take(rows)


@pytest.mark.parametrize("scores_at_a_time", [1, 7, 23, 70, 10_000])
def test_scoring_stays_within_its_memory(
    monkeypatch: pytest.MonkeyPatch, scores_at_a_time: int
) -> None:
    queries, corpus, _ = random_case(8)
    monkeypatch.setattr(topk, "RESCORE_BYTES", 20 * 8 * scores_at_a_time)
    watched = Watched(corpus, [])
    ids = np.zeros((5, 23), dtype=np.int64)
    exact_scores(queries, watched, ids)  # type: ignore[arg-type]
    assert max(watched.sizes) <= scores_at_a_time
    assert sum(watched.sizes) == ids.size


GOOD = Candidates.of_one(
    np.array([4, 2]),
    np.array([[3, 1, -1, -1], [0, 5, 1, 2]]),
    np.array([[0.5, 0.5, -INF, -INF], [0.9, 0.1, -0.3, -0.4]], dtype=np.float32),
    "test",
)


def changed(array: npt.NDArray[np.generic], at: tuple[int, int], value: float) -> Candidates:
    edited = array.copy()
    edited[at] = value
    name = "ids" if edited.dtype == np.int64 else "scores"
    return replace(GOOD, **{name: edited})  # type: ignore[arg-type]


BROKEN = {
    "belong together": [
        replace(GOOD, ids=GOOD.ids[:, :2]),
        replace(GOOD, query_rows=GOOD.query_rows[:1]),
        replace(GOOD, query_rows=GOOD.query_rows[:, None]),
    ],
    "in the same places": [
        changed(GOOD.ids, (0, 3), 0),
        changed(GOOD.ids, (1, 3), -1),
        changed(GOOD.scores, (0, 3), -9),
        changed(GOOD.scores, (1, 3), -INF),
    ],
    "at the end of a row": [
        replace(GOOD, ids=GOOD.ids[:, ::-1].copy(), scores=GOOD.scores[:, ::-1].copy())
    ],
    "source number is over 0": [replace(GOOD, source=np.ones_like(GOOD.source))],
    "stands twice": [changed(GOOD.ids, (1, 2), 0), changed(GOOD.ids, (0, 1), 3)],
}


@pytest.mark.parametrize(
    ("message", "broken"), [(message, c) for message, cases in BROKEN.items() for c in cases]
)
def test_check_finds_broken_candidates(message: str, broken: Candidates) -> None:
    GOOD.check()
    with pytest.raises(PyriteError, match=f"^candidates: .*{message}"):
        broken.check()


@given(start=st.integers(0, 2), stop=st.integers(0, 2))
@example(start=0, stop=2)
def test_a_block_is_a_cut_of_every_column(start: int, stop: int) -> None:
    block = replace(GOOD, generation=3).block(start, stop)
    block.check()
    assert block.query_rows.tolist() == GOOD.query_rows.tolist()[start:stop]
    assert block.ids.tolist() == GOOD.ids.tolist()[start:stop]
    assert block.scores.tolist() == GOOD.scores.tolist()[start:stop]
    assert (block.sources, block.generation) == (("test",), 3)
    assert block.source_rank.tolist() == GOOD.source_rank.tolist()[start:stop]

from __future__ import annotations

from collections.abc import Iterator, Sequence

import faiss
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyrite.core.candidates import Candidates
from pyrite.core.embeddings import Embeddings
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64, IdIndex
from pyrite.indexes import flat
from pyrite.indexes.flat import FlatIndex
from pyrite.indexes.proposers import BlockSearch, FaissProposer, deep_search, faiss_knn

K_SPARE = 32  # what a search proposes beyond k before it has to look again


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    yield
    faiss.omp_set_num_threads(before)


def sharded(corpus: F32, rows: int) -> Embeddings:
    return Embeddings(tuple(corpus[i : i + rows] for i in range(0, len(corpus), rows)), rows, "")


def shuffled_ids(count: int, seed: int = 0) -> list[str]:
    """Ids whose order is not the order of the rows."""
    return [f"d{n}" for n in np.random.default_rng(seed).permutation(count)]


def index_of(
    corpus: F32,
    ids: Sequence[str],
    shard_rows: int = 50,
    threads: int = 1,
    propose: BlockSearch = faiss_knn,
) -> FlatIndex:
    rank_N = IdIndex.build(ids, "test").rank_N
    vectors = sharded(corpus, shard_rows)
    proposer = FaissProposer(vectors, threads)
    proposer._search = propose
    return FlatIndex(vectors, rank_N, proposer)


def strings(ids: Sequence[str], rows_BK: I64) -> list[list[str]]:
    return [[ids[row] for row in rows] for rows in rows_BK]


def oracle(queries: F32, corpus: F32, ids: Sequence[str], k: int) -> tuple[I64, F32]:
    """Score every pair alone in float64, round once, sort by (-score, id string)."""
    wide = corpus.astype(np.float64)
    found, scores = [], []
    for query in queries.astype(np.float64):
        exact = [float(np.float32((query * doc).sum())) for doc in wide]
        order = sorted(range(len(corpus)), key=lambda row: (-exact[row], ids[row]))[:k]
        found.append(order)
        scores.append([exact[row] for row in order])
    shape = (len(queries), k)
    return (
        np.array(found, dtype=np.int64).reshape(shape),
        np.array(scores, dtype=np.float32).reshape(shape),
    )


def assert_same(found: tuple[I64, F32], expected: tuple[I64, F32]) -> None:
    assert found[0].dtype == np.int64
    assert found[1].dtype == np.float32
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1].tobytes() == expected[1].tobytes()


def unit(rows: int, dimension: int, seed: int) -> F32:
    values = np.random.default_rng(seed).standard_normal((rows, dimension))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float32)


def with_copies(seed: int, copies: int = 120) -> F32:
    """A few good documents, a border of identical ones, and worse ones; in random order."""
    random = np.random.default_rng(seed)
    base = np.array([1.0, 0.2, 0, 0, 0, 0, 0, 0.1])
    best = base * [1.3, 1, 1, 1, 1, 1, 1, 1]
    rows = [best + random.standard_normal(8) * 0.01 for _ in range(4)]
    rows += [base] * copies
    rows += [base * 0.5 + random.standard_normal(8) * 0.01 for _ in range(60)]
    return np.array(rows, dtype=np.float32)[random.permutation(len(rows))]


def near_copies(seed: int) -> F32:
    """Documents that differ by single bits: matrix products round them into each other's order."""
    random = np.random.default_rng(seed)
    base = unit(1, 24, seed)
    steps = random.integers(-2, 3, size=(150, 24)).astype(np.int32)
    return (np.tile(base, (150, 1)).view(np.int32) + steps).view(np.float32)


CORPORA: dict[str, F32] = {
    "random": unit(190, 24, 1),
    "copies at the border": with_copies(2),
    "near copies": near_copies(3),
    "all equal": np.tile(unit(1, 24, 4), (150, 1)),
    "all zero": np.zeros((90, 5), dtype=np.float32),
    "long and short": unit(150, 24, 5)
    * np.float32(10) ** np.arange(150, dtype=np.float32)[:, None] ** 0.3,
    "one document": unit(1, 3, 6),
    "one dimension": np.random.default_rng(7).integers(-3, 4, (120, 1)).astype(np.float32),
}


def queries_for(corpus: F32) -> F32:
    queries = unit(7, corpus.shape[1], 9)
    queries[:3] = corpus[:3] if len(corpus) > 3 else corpus[0]
    return queries


@pytest.mark.parametrize("name", CORPORA)
def test_search_is_the_brute_force_byte_for_byte(name: str) -> None:
    corpus = CORPORA[name]
    queries, ids = queries_for(corpus), shuffled_ids(len(corpus))
    for k in sorted({1, min(10, len(corpus)), len(corpus)}):
        expected = oracle(queries, corpus, ids, k)
        for shard_rows, threads in ((7, 1), (64, 1), (64, 2), (len(corpus), 1)):
            index = index_of(corpus, ids, shard_rows, threads)
            assert len(index) == len(corpus)
            assert_same(index.search(queries, k), expected)
        for batch in (1, 3):
            parts = [index.search(queries[i : i + batch], k) for i in range(0, len(queries), batch)]
            found, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
            assert_same((found, scores), expected)


@pytest.mark.parametrize("copies", [40, K_SPARE + 10, K_SPARE + 11, 120, 400])
def test_a_border_of_copies_is_settled_by_id(copies: int) -> None:
    corpus = with_copies(11, copies)
    queries = np.array([[1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]], dtype=np.float32)
    ids = shuffled_ids(len(corpus))
    expected = oracle(queries, corpus, ids, 10)
    assert_same(index_of(corpus, ids, 50).search(queries, 10), expected)
    chosen = sorted(
        ids[row] for row in range(len(corpus)) if corpus[row, 0] == 1 and corpus[row, 7] > 0
    )[:6]
    assert [ids[row] for row in expected[0][0][4:]] == chosen, "the oracle sees the border"


@given(data=st.data(), dimension=st.integers(1, 3), shard_rows=st.integers(1, 30))
def test_small_whole_numbers_tie_often(
    data: st.DataObject, dimension: int, shard_rows: int
) -> None:
    vector = st.lists(st.integers(-1, 1), min_size=dimension, max_size=dimension)
    # repeated so that ties reach over the spare proposals
    few = data.draw(st.lists(vector, min_size=1, max_size=8))
    corpus = np.array(few * data.draw(st.integers(1, 20)), dtype=np.float32)
    queries = np.array(data.draw(st.lists(vector, min_size=1, max_size=3)), dtype=np.float32)
    k = data.draw(st.integers(1, len(corpus)))
    ids = shuffled_ids(len(corpus), data.draw(st.integers(0, 3)))
    index = index_of(corpus, ids, shard_rows, threads=1)
    assert_same(index.search(queries, k), oracle(queries, corpus, ids, k))


@pytest.mark.parametrize("name", ["random", "copies at the border", "all equal", "near copies"])
def test_the_order_of_the_corpus_changes_no_id_string(name: str) -> None:
    corpus = CORPORA[name]
    queries, ids = queries_for(corpus), shuffled_ids(len(corpus))
    found, scores = index_of(corpus, ids, 64).search(queries, 12)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(corpus))
        moved = [ids[row] for row in order]
        other, other_scores = index_of(corpus[order], moved, 33).search(queries, 12)
        assert strings(moved, other) == strings(ids, found)
        assert other_scores.tobytes() == scores.tobytes()


def one_lost_document(dimension: int, query_norm: float, doc_norm: float) -> tuple[F32, F32, F32]:
    """Query, corpus and proposed scores, wrong by 0.99 of what float32 sums may be wrong by.

    Row 0 is the best; its proposed score is too low, and below those of forty worse ones, whose
    scores are too high. Row 1 is second best, and clearly above what was left out.
    """
    bound = dimension * 2.0**-24 * query_norm * doc_norm
    error = 0.99 * bound
    best = 0.5 * query_norm * doc_norm
    true = np.array([best, best - 0.02 * bound, *[best - 1.98 * error] * 40])
    proposed = np.array([best - error, best, *[best - 0.98 * error] * 40])
    corpus = np.zeros((62, dimension))
    corpus[:42, 0] = true / query_norm
    corpus[:42, 1] = np.sqrt(doc_norm**2 - corpus[:42, 0] ** 2)
    corpus[42:, 2] = doc_norm * 1e-3  # short ones, which must not shrink the bound
    query = np.zeros((1, dimension))
    query[0, 0] = query_norm
    scores = np.concatenate([proposed, np.zeros(20)])
    return query.astype(np.float32), corpus.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("norms", [(1, 1), (1000, 1), (1, 50), (0.01, 1), (1, 0.02)])
@pytest.mark.parametrize("shard_rows", [7, 62])
def test_errors_within_the_rounding_bound_cannot_lose_the_best(
    norms: tuple[float, float], shard_rows: int
) -> None:
    query, corpus, scores = one_lost_document(256, *norms)
    order = np.random.default_rng(0).permutation(len(corpus))
    corpus, scores, ids = corpus[order], scores[order], shuffled_ids(len(corpus))

    def propose(queries: F32, block: F32, k: int) -> tuple[F32, I64]:
        first = (block.ctypes.data - corpus.ctypes.data) // corpus.strides[0]
        part = np.tile(scores[first : first + len(block)], (len(queries), 1))
        rows = np.argsort(-part, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(part, rows, axis=1), rows

    expected = oracle(query, corpus, ids, 1)
    assert order[expected[0][0, 0]] == 0
    assert_same(index_of(corpus, ids, shard_rows, propose=propose).search(query, 1), expected)


@given(
    size=st.integers(1, 120),
    k=st.integers(1, 120),
    max_k=st.integers(8, 30),
    levels=st.integers(1, 40),
    seed=st.integers(0, 5),
)
@example(size=120, k=100, max_k=8, levels=40, seed=0)
def test_a_search_that_is_capped_is_deepened_to_the_same_scores(
    size: int, k: int, max_k: int, levels: int, seed: int
) -> None:
    k = min(k, size)
    random = np.random.default_rng(seed)
    # the best stand together at one end: one part of the block holds more than its share
    block = np.sort(random.integers(0, levels, (size, 1)), axis=0).astype(np.float32)
    queries = np.array([[1.0], [-1.0], [0.5]], dtype=np.float32)

    def capped(asked: F32, part: F32, wanted: int) -> tuple[F32, I64]:
        assert wanted <= max_k
        return faiss_knn(asked, part, wanted)

    scores, rows = deep_search(capped, queries, block, k, max_k)
    expected = -np.sort(-(queries @ block.T), axis=1)[:, :k]
    np.testing.assert_array_equal(-np.sort(-scores, axis=1), expected)
    np.testing.assert_array_equal(np.take_along_axis(queries @ block.T, rows, axis=1), scores)
    assert all(len(set(row)) == k for row in rows.tolist())


def test_half_precision_vectors_are_searched_as_the_float32_they_are_read_as() -> None:
    corpus = CORPORA["copies at the border"].astype(np.float16)
    queries, ids = queries_for(corpus.astype(np.float32)), shuffled_ids(len(corpus))
    vectors = Embeddings((corpus[:100], corpus[100:]), 100, "")
    index = FlatIndex(vectors, IdIndex.build(ids, "test").rank_N, FaissProposer(vectors, 1))
    expected = oracle(queries, corpus.astype(np.float32), ids, 12)
    assert_same(index.search(queries, 12), expected)


class Counting:
    """FAISS, with the widths it was asked for and by how many queries."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, queries: F32, block: F32, k: int) -> tuple[F32, I64]:
        self.asked.append((len(queries), k))
        return faiss_knn(queries, block, k)


def test_only_the_queries_in_doubt_are_searched_again() -> None:
    corpus = np.concatenate([unit(300, 8, 1), np.tile(unit(1, 8, 2), (200, 1))])
    queries = np.concatenate([unit(3, 8, 3), corpus[-1:], -corpus[-1:]])
    counting = Counting()
    index = index_of(corpus, shuffled_ids(500), 1000, propose=counting)
    index.search(queries, 10)
    assert counting.asked == [(5, 10 + K_SPARE), (1, 4 * (10 + K_SPARE)), (1, 500)]


def test_a_search_for_everything_needs_one_look() -> None:
    corpus, counting = unit(20, 8, 1), Counting()
    index = index_of(corpus, shuffled_ids(20), propose=counting)
    index.search(unit(3, 8, 2), 20)
    index.search(unit(3, 8, 2), 5)
    assert counting.asked == [(3, 20), (3, 20)]


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_many_queries_are_proposed_for_in_steps(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    corpus, queries = unit(100, 8, 1), unit(9, 8, 2)
    ids = shuffled_ids(100)
    counting = Counting()
    # one query must go through even where its proposals are over the limit
    monkeypatch.setattr(flat, "_PROPOSALS", at_once * (5 + K_SPARE) if at_once > 1 else 1)
    index = index_of(corpus, ids, 1000, propose=counting)
    assert_same(index.search(queries, 5), oracle(queries, corpus, ids, 5))
    rows = [rows for rows, _ in counting.asked]
    assert rows == [at_once] * (9 // at_once) + [1] * (9 % at_once)


@pytest.mark.parametrize("k", [0, 61, 1000])
def test_k_outside_the_corpus_is_an_error(k: int) -> None:
    index = index_of(unit(60, 8, 1), shuffled_ids(60), 10)
    with pytest.raises(PyriteError, match=rf"^k={k} but the corpus has 60 documents; set retrieve"):
        index.search(unit(2, 8, 2), k)


def test_a_wrong_dimension_is_an_error() -> None:
    index = index_of(unit(60, 8, 1), shuffled_ids(60), 10)
    with pytest.raises(PyriteError, match=r"^queries have dimension 9, the index 8;"):
        index.search(unit(2, 9, 2), 5)


def test_no_queries_is_no_result() -> None:
    index = index_of(unit(60, 8, 1), shuffled_ids(60), 10)
    ids, scores = index.search(unit(2, 8, 2)[:0], 5)
    assert ids.shape == scores.shape == (0, 5)


def test_a_result_is_well_formed_candidates() -> None:
    corpus = with_copies(3)
    queries = queries_for(corpus)
    found = index_of(corpus, shuffled_ids(len(corpus)), 50).search(queries, 20)
    Candidates.of_one(np.arange(len(queries)), *found, "dense").check()

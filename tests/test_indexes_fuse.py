from __future__ import annotations

import itertools
import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.indexes.fuse import Fused, Fusion, Ranked, fuse

HOW: tuple[Fusion, ...] = get_args(Fusion)
List = list[tuple[int, float]]  # (document, score), best first
Entry = tuple[float, int, int]  # fused value, source, rank there


def ranked(rows: list[List], weight: float = 1.0, width: int | None = None) -> Ranked:
    """Lists of several queries as the padded arrays of one retriever."""
    columns = width or max(1, *(len(row) for row in rows))
    ids = np.full((len(rows), columns), -1, dtype=np.int64)
    scores = np.full((len(rows), columns), -np.inf, dtype=np.float32)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = [doc for doc, _ in row]
        scores[at, : len(row)] = [score for _, score in row]
    return Ranked(ids, scores, weight)


def oracle(lists: list[List], weights: list[float], how: Fusion, rrf_k: int) -> dict[int, Entry]:
    """One query's joined list, document by document."""
    out: dict[int, Entry] = {}
    for doc in {doc for found in lists for doc, _ in found}:
        places = [
            (rank, source, score)
            for source, found in enumerate(lists)
            for rank, (other, score) in enumerate(found, start=1)
            if other == doc
        ]
        rank, source, _ = min(places)
        if how == "rrf":
            value = math.fsum(weights[s] / (rrf_k + r) for r, s, _ in places)
        elif how == "score":
            value = math.fsum(weights[s] * min_max(lists[s], score) for _, s, score in places)
        elif how == "union":
            value = -rank
        else:
            value = -(rank * len(lists) + source)
        out[doc] = (value, source, rank)
    return out


def min_max(found: List, score: float) -> float:
    low, high = min(s for _, s in found), max(s for _, s in found)
    return (score - low) / (high - low) if high > low else 1.0


def rows_of(fused: Fused) -> list[dict[int, Entry]]:
    """Each row of the arrays by document; checks the padding on the way."""
    out = []
    for ids, values, sources, ranks in zip(
        fused.ids, fused.values, fused.source, fused.source_rank, strict=True
    ):
        real = ids >= 0
        assert not (~real[:-1] & real[1:]).any(), "padding stands at the end"
        assert np.isneginf(values[~real]).all()
        assert not sources[~real].any()
        assert not ranks[~real].any()
        kept = (column[real].tolist() for column in (ids, values, sources, ranks))
        row = {d: (v, s, r) for d, v, s, r in zip(*kept, strict=True)}
        assert len(row) == real.sum(), "a document stands once"
        out.append(row)
    return out


def order(row: dict[int, Entry]) -> list[int]:
    return sorted(row, key=lambda doc: (-row[doc][0], doc))


@st.composite
def lists_of(draw: st.DrawFn) -> list[list[List]]:
    """Lists [retriever][query] of distinct documents, scores descending and often tied."""
    retrievers, queries = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    documents = st.lists(st.integers(0, 9), max_size=7, unique=True)
    out = []
    for _ in range(retrievers):
        rows = []
        for _ in range(queries):
            docs = draw(documents)
            scores = draw(st.lists(st.integers(-4, 4), min_size=len(docs), max_size=len(docs)))
            rows.append(list(zip(docs, map(float, sorted(scores, reverse=True)), strict=True)))
        out.append(rows)
    return out


@given(
    lists=lists_of(),
    how=st.sampled_from(HOW),
    rrf_k=st.sampled_from([0, 1, 60]),
    weights=st.lists(st.sampled_from([0.25, 1.0, 2.0, 3.5]), min_size=4, max_size=4),
)
def test_fusion_is_the_oracle(
    lists: list[list[List]], how: Fusion, rrf_k: int, weights: list[float]
) -> None:
    found = rows_of(
        fuse([ranked(rows, w) for rows, w in zip(lists, weights, strict=False)], how, rrf_k)
    )
    for at, row in enumerate(found):
        expected = oracle([rows[at] for rows in lists], weights, how, rrf_k)
        assert {d: entry[1:] for d, entry in row.items()} == {
            d: entry[1:] for d, entry in expected.items()
        }
        for doc, (value, _, _) in row.items():
            assert value == pytest.approx(expected[doc][0], rel=1e-6, abs=1e-6)


A: List = [(7, 9.0), (3, 5.0), (1, 1.0)]
B: List = [(7, 0.5), (1, 0.25), (8, 0.0)]


def values(how: Fusion, *lists: Ranked, rrf_k: int = 60) -> dict[int, float]:
    (row,) = rows_of(fuse(lists, how, rrf_k))
    return {doc: entry[0] for doc, entry in row.items()}


def test_values_by_hand() -> None:
    one, two = ranked([A]), ranked([B])
    assert values("rrf", one, two) == pytest.approx(
        {7: 2 / 61, 3: 1 / 62, 1: 1 / 63 + 1 / 62, 8: 1 / 63}
    )
    assert values("rrf", one, two, rrf_k=0)[7] == 2
    assert values("score", one, two) == pytest.approx({7: 2.0, 3: 0.5, 1: 0.5, 8: 0.0})
    assert values("union", one, two) == {7: -1, 3: -2, 1: -2, 8: -3}
    # 7 of A, (7 of B,) 3 of A, 1 of B, (1 of A,) 8 of B
    turns = values("round_robin", one, two)
    assert sorted(turns, key=lambda doc: -turns[doc]) == [7, 3, 1, 8]


def test_weights_count_in_rank_and_score_fusion() -> None:
    heavy, light = ranked([A], 3.0), ranked([B], 0.5)
    assert values("rrf", heavy, light)[1] == pytest.approx(3 / 63 + 0.5 / 62)
    assert values("score", heavy, light) == pytest.approx({7: 3.5, 3: 1.5, 1: 0.25, 8: 0.0})


@pytest.mark.parametrize("how", ["round_robin", "union"])
def test_weights_count_for_nothing_in_turns(how: Fusion) -> None:
    assert values(how, ranked([A], 0.1), ranked([B], 9)) == values(how, ranked([A]), ranked([B]))


@pytest.mark.parametrize("how", HOW)
def test_one_list_keeps_its_order(how: Fusion) -> None:
    (row,) = rows_of(fuse([ranked([A])], how))
    assert order(row) == [7, 3, 1]
    assert [row[doc][1:] for doc in (7, 3, 1)] == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("how", HOW)
def test_equal_lists_are_as_one(how: Fusion) -> None:
    rows = [A, B, []]
    alone = rows_of(fuse([ranked(rows)], how))
    for copies in (2, 3):
        joined = rows_of(fuse([ranked(rows)] * copies, how))
        assert [order(row) for row in joined] == [order(row) for row in alone]
        for row, other in zip(joined, alone, strict=True):
            assert {d: e[1:] for d, e in row.items()} == {d: e[1:] for d, e in other.items()}


def test_a_list_of_equal_scores_is_all_ones() -> None:
    flat: List = [(4, 2.5), (5, 2.5)]
    assert values("score", ranked([flat])) == {4: 1, 5: 1}
    assert values("score", ranked([flat], 0.5), ranked([[(5, -3.0)]])) == {4: 0.5, 5: 1.5}


def test_scores_are_mapped_query_by_query() -> None:
    rows = [[(1, 10.0), (2, 0.0)], [(1, 1000.0), (2, 990.0), (3, 980.0)]]
    found = rows_of(fuse([ranked(rows)], "score"))
    assert [[row[d][0] for d in order(row)] for row in found] == [[1, 0], [1, 0.5, 0]]


def test_the_source_is_the_list_that_ranks_best_and_the_first_of_equals() -> None:
    lists = [ranked([[(1, 1.0), (2, 0.5), (3, 0.1)]]), ranked([[(2, 9.0), (1, 8.0), (3, 7.0)]])]
    for how in HOW:
        (row,) = rows_of(fuse(lists, how))
        assert {d: e[1:] for d, e in row.items()} == {1: (0, 1), 2: (1, 1), 3: (0, 3)}
        (swapped,) = rows_of(fuse(lists[::-1], how))
        assert {d: e[1:] for d, e in swapped.items()} == {1: (1, 1), 2: (0, 1), 3: (0, 3)}


@pytest.mark.parametrize("how", HOW)
def test_padding_is_no_document(how: Fusion) -> None:
    lists = [ranked([A, [], []], width=6), ranked([[], B, []], width=3)]
    fused = fuse(lists, how)
    assert fused.ids.shape == fused.source_rank.shape == (3, 3)
    assert [len(row) for row in rows_of(fused)] == [3, 3, 0]
    for empty in itertools.combinations_with_replacement([ranked([[], []])], 2):
        assert fuse(empty, how).ids.shape == (2, 0)


def test_the_columns_have_the_promised_types() -> None:
    fused = fuse([ranked([A]), ranked([B])], "rrf")
    columns = (fused.ids, fused.values, fused.source, fused.source_rank)
    assert [c.dtype for c in columns] == [np.int64, np.float32, np.uint8, np.int32]


def test_many_retrievers_are_told_apart() -> None:
    fused = fuse([ranked([[(doc, 1.0)]]) for doc in range(255)], "round_robin")
    (row,) = rows_of(fused)
    assert {doc: entry[1] for doc, entry in row.items()} == {doc: doc for doc in range(255)}
    assert order(row) == list(range(255))

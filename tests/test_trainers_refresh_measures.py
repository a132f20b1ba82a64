from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.ids import I64
from pyrite.miner.negatives_file import ScoredRows
from pyrite.trainers.refresh_measures import above_share, churn, churn_of, overlap

Lists = list[list[int]]


@st.composite
def two_rankings(draw: st.DrawFn) -> tuple[Lists, Lists, int]:
    """Lists of distinct ids, some empty, of which every so many share ids."""
    width = draw(st.integers(1, 5))
    lists = st.lists(st.integers(0, 7), unique=True, max_size=width)
    a = draw(st.lists(lists, max_size=6))
    b = draw(st.lists(lists, min_size=len(a), max_size=len(a)))
    return a, b, width


def padded(rows: Lists, width: int) -> I64:
    found = np.full((len(rows), width), -1, dtype=np.int64)
    for row, ids in zip(found, rows, strict=True):
        row[: len(ids)] = ids
    return found


@given(two_rankings(), st.integers(0, 3))
def test_churn_is_that_of_plain_sets(case: tuple[Lists, Lists, int], wider: int) -> None:
    before, after, width = case
    shares = [
        len(set(new) - set(old)) / len(new) for old, new in zip(before, after, strict=True) if new
    ]
    found = churn(padded(before, width + wider), padded(after, width))
    assert (found.queries, found.left_out) == (len(shares), len(after) - len(shares))
    if shares:
        assert found.value == pytest.approx(sum(shares) / len(shares), abs=1e-12)
    else:
        assert found.value is None


@given(two_rankings(), st.data())
def test_overlap_is_that_of_plain_sets(case: tuple[Lists, Lists, int], data: st.DataObject) -> None:
    a, b, width = case
    k = data.draw(st.integers(1, width))
    shares = [
        len(set(x[:k]) & set(y[:k])) / max(len(x[:k]), len(y[:k]))
        for x, y in zip(a, b, strict=True)
        if x or y
    ]
    found = overlap(padded(a, width), padded(b, width), k)
    assert (found.queries, found.left_out) == (len(shares), len(a) - len(shares))
    if shares:
        assert found.value == pytest.approx(sum(shares) / len(shares), abs=1e-12)
    else:
        assert found.value is None


@given(two_rankings())
def test_the_order_within_a_list_changes_no_churn(case: tuple[Lists, Lists, int]) -> None:
    before, after, width = case
    turned = [ids[::-1] for ids in before]
    assert churn(padded(before, width), padded(after, width)) == churn(
        padded(turned, width), padded(after, width)
    )


def test_known_values() -> None:
    a = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [1, -1, -1, -1], [-1, -1, -1, -1]])
    b = np.array([[4, 3, 2, 1], [5, 9, 7, -1], [2, 3, -1, -1], [-1, -1, -1, -1]])
    assert overlap(a, b, 2).value == pytest.approx((0 + 1 / 2 + 0) / 3)
    assert overlap(a, b, 4).value == pytest.approx((1 + 2 / 4 + 0) / 3)
    found = churn(a, b)
    assert found.value == pytest.approx((0 + 1 / 3 + 1) / 3)
    assert (found.queries, found.left_out) == (3, 1)
    assert overlap(a, a, 4).value == 1.0


def test_equal_ids_of_other_rows_are_not_found() -> None:
    before, after = np.array([[0, 1], [2, 3]]), np.array([[2, 3], [0, 1]])
    assert churn(before, after).value == 1.0


@pytest.mark.parametrize("k", [0, 3])
def test_a_cut_outside_the_rankings_is_an_error(k: int) -> None:
    with pytest.raises(ValueError, match=f"k={k} for rankings of 3 and 2"):
        overlap(np.zeros((1, 3), np.int64), np.zeros((1, 2), np.int64), k)


def test_other_numbers_of_queries_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 and 1 queries"):
        churn(np.zeros((2, 3), np.int64), np.zeros((1, 3), np.int64))


def rows(queries: list[int], ids: Lists, positives: list[int] | None = None) -> ScoredRows:
    found = np.array(ids)
    none = np.zeros(found.shape, np.float32)
    docs = None if positives is None else np.array(positives)
    return ScoredRows(np.array(queries), found, none, none, docs)


def test_generations_are_compared_by_query_not_by_place() -> None:
    before = rows([7, 3, 5], [[1, 2], [3, 4], [5, 6]])
    after = rows([3, 9, 7], [[3, 8], [1, 2], [2, 1]])
    # query 9 is new: all of its negatives are
    assert churn_of(before, after).value == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_generations_are_compared_by_query_and_positive() -> None:
    before = rows([3, 3], [[1, 2], [3, 4]], [10, 11])
    after = rows([3, 3], [[3, 4], [3, 4]], [10, 11])
    assert churn_of(before, after).value == pytest.approx(1 / 2)


@given(
    st.lists(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5]), max_size=3), min_size=1, max_size=5),
    st.lists(st.sampled_from([0.1, 0.25, 0.3, 0.6]), max_size=5),
)
def test_the_proxy_counts_positives_at_most_as_high(
    scores: list[list[float]], positives: list[float]
) -> None:
    ids = padded([list(range(len(row))) for row in scores], 3)
    values = np.full(ids.shape, -np.inf, np.float32)
    values[ids >= 0] = [score for row in scores for score in row]
    pairs = [p <= s for row in scores for s in row for p in positives]
    found = above_share(values, ids, np.array(positives, np.float32))
    assert found == (sum(pairs) / len(pairs) if pairs else None)

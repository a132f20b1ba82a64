from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.digest import u64_array
from pyrite.core.errors import PyriteError
from pyrite.core.rng import combine, stream
from pyrite.miner.hubness import cap_uses, most_used

I64 = npt.NDArray[np.int64]
DOCUMENTS = 6
DOC_HASHES = u64_array([f"d{i}" for i in range(DOCUMENTS)])


def query_hashes(count: int) -> npt.NDArray[np.uint64]:
    return u64_array([f"q{i}" for i in range(count)])


@st.composite
def drawings(draw: st.DrawFn) -> I64:
    queries, width = draw(st.integers(1, 7)), draw(st.integers(1, DOCUMENTS))
    out = np.full((queries, width), -1, dtype=np.int64)
    for row in out:
        docs = draw(st.permutations(range(DOCUMENTS)))[: draw(st.integers(0, width))]
        row[: len(docs)] = docs
    return out


def matching_oracle(draws: list[list[int]], n: int, cap: int, seed: int) -> list[list[int]]:
    """Deferred acceptance, one proposal at a time: columns that each query keeps."""
    roots = combine(stream(seed, 0, 3), query_hashes(len(draws)))
    held: dict[int, list[tuple[bool, int, int, int]]] = {}
    turn = [0] * len(draws)
    open_slots = [q for q in range(len(draws)) for _ in range(n)]
    while open_slots:
        query = open_slots.pop()
        row = [d for d in draws[query] if d >= 0]
        if turn[query] >= len(row):
            continue
        column, doc = turn[query], row[turn[query]]
        turn[query] += 1
        key = int(combine(roots[query : query + 1], DOC_HASHES[doc : doc + 1])[0])
        mine = held.setdefault(doc, [])
        mine.append((column >= n, key, query, column))
        mine.sort()
        if len(mine) > cap:
            open_slots.append(mine.pop()[2])
    kept = [e for mine in held.values() for e in mine]
    return [sorted(c for _, _, q, c in kept if q == query) for query in range(len(draws))]


@given(drawings(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 50))
def test_the_cap_equals_a_stable_matching(draws: I64, n: int, cap: int, seed: int) -> None:
    found = cap_uses(draws, n, cap, query_hashes(len(draws)), DOC_HASHES, seed)
    expected = matching_oracle(draws.tolist(), n, cap, seed)
    assert [[c for c in row if c >= 0] for row in found.columns.tolist()] == expected
    for row, columns, ids in zip(draws, found.columns, found.ids, strict=True):
        real = columns >= 0
        assert ids[real].tolist() == row[columns[real]].tolist()
        assert (ids[~real] == -1).all()
        assert not (np.diff(real.astype(int)) > 0).any()
    kept = {(q, c) for q, row in enumerate(expected) for c in row}
    asked = {(int(q), int(c)) for q, c in np.argwhere(draws[:, :n] >= 0)}
    assert found.dropped == len(asked - kept)
    assert found.replaced == len(kept - asked)
    assert found.missing == found.dropped - found.replaced >= 0


@given(drawings(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 50))
def test_no_document_is_used_over_the_cap_and_none_is_left_unused(
    draws: I64, n: int, cap: int, seed: int
) -> None:
    found = cap_uses(draws, n, cap, query_hashes(len(draws)), DOC_HASHES, seed)
    uses = Counter(found.ids[found.ids >= 0].tolist())
    assert max(uses.values(), default=0) <= cap
    for row, ids in zip(draws.tolist(), found.ids.tolist(), strict=True):
        mine = [d for d in ids if d >= 0]
        assert len(set(mine)) == len(mine) <= n
        if len(mine) < n:
            assert all(uses[d] == cap for d in row if d >= 0 and d not in mine)


@given(drawings(), st.integers(0, 50))
def test_the_order_of_queries_changes_nothing(draws: I64, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(draws))
    hashes = query_hashes(len(draws))
    straight = cap_uses(draws, 2, 2, hashes, DOC_HASHES, seed)
    turned = cap_uses(draws[order], 2, 2, hashes[order], DOC_HASHES, seed)
    assert np.array_equal(turned.columns, straight.columns[order])


@given(drawings(), st.integers(1, 4))
def test_a_cap_that_nothing_reaches_keeps_the_first_draws(draws: I64, n: int) -> None:
    found = cap_uses(draws, n, len(draws), query_hashes(len(draws)), DOC_HASHES, 0)
    width = min(n, draws.shape[1])
    assert np.array_equal(found.ids[:, :width], draws[:, :width])
    assert (found.ids[:, width:] == -1).all()
    assert (found.dropped, found.replaced) == (0, 0)


def test_three_queries_want_one_document() -> None:
    # the smallest hash keeps document 0; one loser has a spare, the other finds it taken
    draws = np.array([[0, 1], [0, 1], [0, 1]])
    hashes = query_hashes(3)
    keys = combine(combine(stream(9, 0, 3), hashes), DOC_HASHES[:1])
    found = cap_uses(draws, 1, 1, hashes, DOC_HASHES, 9)
    assert int(np.flatnonzero(found.ids[:, 0] == 0)[0]) == int(np.argmin(keys))
    assert sorted(found.ids[:, 0].tolist()) == [-1, 0, 1]
    assert (found.dropped, found.replaced, found.missing) == (2, 1, 1)


def test_a_draw_is_kept_before_any_spare() -> None:
    draws = np.array([[1, 0], [1, 0], [0, 2]])
    for seed in range(8):
        found = cap_uses(draws, 1, 1, query_hashes(3), DOC_HASHES, seed)
        assert found.ids[2].tolist() == [0]


def test_the_most_used_come_first_and_ties_go_by_id() -> None:
    ids = np.array([[3, 1], [3, -1], [0, 1], [2, -1]])
    rank = np.array([1, 2, 0, 3])
    top, counts = most_used(ids, rank, 3)
    assert (top.tolist(), counts.tolist()) == ([1, 3, 2], [2, 2, 1])
    assert most_used(np.full((2, 2), -1), rank, 3)[0].size == 0


@pytest.mark.parametrize(("n", "cap"), [(0, 1), (1, 0)])
def test_nothing_below_one(n: int, cap: int) -> None:
    with pytest.raises(PyriteError, match=f"n={n} and cap={cap}"):
        cap_uses(np.zeros((1, 1), np.int64), n, cap, query_hashes(1), DOC_HASHES, 0)

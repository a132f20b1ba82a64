"""SaHa as a sampler and as groups of a batch, against plain loops."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords, write_dataset
from hypothesis import given
from hypothesis import strategies as st
from test_miner_mine import (
    allowed_oracle,
    exact,
    positives_of,
    ranked_oracle,
    rows_of,
    settings,
    shuffled_lines,
    texts_of,
    vectors_of,
)

from pyrite.core.digest import u64_array
from pyrite.core.embeddings import Embeddings
from pyrite.core.errors import PyriteError
from pyrite.core.tables import Qrels
from pyrite.miner.mine import mine
from pyrite.miner.ngame import Points
from pyrite.miner.saha import hard_owners, saha_places
from pyrite.miner.saha_groups import Groups, saha_groups
from pyrite.miner.vectors import Vectors

OPEN: dict[str, Any] = {"filters": {"percent": None}}
QUERIES, DOCUMENTS, DEPTH = 6, 10, 8


def vectors_of_queries(seed: int) -> Vectors:
    """Exact inner products with many ties; the last query was not encoded."""
    values = np.random.default_rng(seed).integers(-2, 3, (QUERIES - 1, 2)) / 2
    place = np.append(np.random.default_rng(seed).permutation(QUERIES - 1), -1)
    none = Embeddings.from_array(np.zeros((DOCUMENTS, 2), dtype=np.float32))
    return Vectors(none, Embeddings.from_array(values.astype(np.float32)), place)


def plain_places(
    ids: list[int], free: list[bool], query: int, qrels: Qrels, vectors: Vectors, n: int, mult: int
) -> list[int]:
    """Columns in the order in which SaHa takes them, all `n * mult` of them."""
    own = vectors.of_queries(np.array([query]))[0]

    def likeness(other: int) -> float:
        return float(own @ vectors.of_queries(np.array([other]))[0])

    seen: list[tuple[int, int]] = []
    looked = 0
    for column, (doc, may) in enumerate(zip(ids, free, strict=True)):
        owners = [
            q
            for q in range(QUERIES - 1)
            if q != query and doc >= 0 and doc in qrels.positives(q).tolist()
        ]
        if not may or not owners:
            continue
        looked += 1
        if looked > 2 * n * mult:
            break
        best = min(owners, key=lambda q: (-likeness(q), vectors.place[q]))
        if best not in [owner for owner, _ in seen]:
            seen.append((best, column))
    return [c for q, c in sorted(seen[: n * mult], key=lambda s: (likeness(s[0]), s[1]))]


@given(
    st.integers(0, 500),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, unique=True),
    st.lists(st.permutations(range(-1, DOCUMENTS)), min_size=1, max_size=QUERIES - 1),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_owners_and_their_order_equal_a_plain_loop(
    seed: int, pairs: list[tuple[int, int]], lists: list[list[int]], n: int, mult: int
) -> None:
    query, doc = np.array(pairs, dtype=np.int64).T
    qrels = Qrels.build(query, doc, np.ones_like(doc), QUERIES)
    vectors = vectors_of_queries(seed)
    ids = np.array([row[:DEPTH] for row in lists], dtype=np.int64)
    rows = np.random.default_rng(seed).permutation(QUERIES - 1)[: len(ids)]
    free = ~qrels.is_positive(rows, ids) & (np.random.default_rng(seed).random(ids.shape) < 0.8)
    owners, similarity = hard_owners(ids, free, rows, qrels, vectors, 2 * n * mult)
    places = saha_places(owners, similarity, n * mult)
    for at, row in enumerate(rows.tolist()):
        expected = plain_places(ids[at].tolist(), free[at].tolist(), row, qrels, vectors, n, mult)
        order = np.argsort(np.where(places[at] < 0, 99, places[at]), kind="stable")
        assert order[: (places[at] >= 0).sum()].tolist() == expected
        assert np.array_equal(np.sort(places[at][places[at] >= 0]), np.arange(len(expected)))
        assert row not in owners[at]
        known = owners[at][owners[at] >= 0]
        assert known.size == np.unique(known).size


@given(st.integers(0, 200), st.integers(1, 8))
def test_with_mult_1_the_order_changes_nothing_in_the_set(seed: int, collect: int) -> None:
    generator = np.random.default_rng(seed)
    owners = np.where(generator.random((3, 8)) < 0.7, np.arange(8), -1)
    similarity = (generator.integers(-3, 4, owners.shape) / 4).astype(np.float32)
    places = saha_places(owners, similarity, collect)
    for row, kept in zip(owners, places >= 0, strict=True):
        assert np.flatnonzero(kept).tolist() == np.flatnonzero(row >= 0)[:collect].tolist()


def saha_oracle(data: Path, n: int, mult: int) -> dict[str, list[str]]:
    judged, queries = positives_of(data), vectors_of(texts_of(data, "queries"))
    out = {}
    for query, ranked in ranked_oracle(data).items():
        seen: dict[str, str] = {}
        looked = 0
        for doc, _, _ in allowed_oracle(data, query, ranked[:60]):
            owners = [q for q in judged if q != query and doc in judged[q]]
            looked += bool(owners)
            if owners and looked <= 2 * n * mult:
                best = min(owners, key=lambda q: (-exact(queries[query], queries[q]), q))
                seen.setdefault(best, doc)
        first = list(seen.items())[: n * mult]
        first.sort(key=lambda pair: exact(queries[query], queries[pair[0]]))
        out[query] = [doc for _, doc in first[:n]]
    return out


@pytest.mark.parametrize(("n", "mult"), [(2, 1), (3, 3), (4, 50)])
def test_mining_by_saha_equals_plain_python(toy: Path, tmp_path: Path, n: int, mult: int) -> None:
    sampler = {"name": "saha", "n": n, "mult": mult}
    mined = mine(settings(tmp_path, toy, sampler=sampler, **OPEN), BagOfWords())
    found = {row["query_id"]: row["negative_ids"] for row in rows_of(mined.folder)}
    assert found == saha_oracle(toy, n, mult)
    assert any(len(docs) == n for docs in found.values())
    owned = set().union(*positives_of(toy).values())
    for query, docs in found.items():
        assert set(docs) <= owned - positives_of(toy)[query]
        assert len(set(docs)) == len(docs)


def test_the_order_of_the_files_changes_no_byte(toy: Path, tmp_path: Path) -> None:
    part = {"name": "saha", "n": 2}
    sampler = {"mix": [part, {"name": "random", "n": 1}], "max_uses": 5}
    first = mine(settings(tmp_path / "a", toy, sampler=sampler, **OPEN), BagOfWords())
    data = tmp_path / "b" / "data"
    shutil.copytree(toy, data)
    for path in ("queries.jsonl", "corpus.jsonl"):
        shuffled_lines(data / path, header=False)
    config = settings(tmp_path / "b", data, sampler=sampler, block_queries=7, **OPEN)
    other = mine(config, BagOfWords())
    for file in ("negatives.parquet", "reasons.npy"):
        assert (first.folder / file).read_bytes() == (other.folder / file).read_bytes()


def test_an_owner_with_the_query_s_own_vector_comes_last(tmp_path: Path) -> None:
    # the same words in another order: another text with the same vector
    queries = {"q0": "red green", "q1": "green red", "q2": "red stone", "q3": "far off"}
    corpus = {"p0": "red", "d1": "red green leaf", "d2": "red green tree", "d3": "green sea"}
    pairs = [("q0", "p0", 1), ("q1", "d1", 1), ("q2", "d2", 1), ("q3", "d3", 1)]
    data = write_dataset(tmp_path / "data", corpus, queries, {"train": pairs})
    sampler = {"name": "saha", "n": 3, "mult": 1}
    config = settings(tmp_path, data, sampler=sampler, retrieve={"depth": 4}, **OPEN)
    docs = {r["query_id"]: r["negative_ids"] for r in rows_of(mine(config, BagOfWords()).folder)}
    assert set(docs["q0"]) == {"d1", "d2", "d3"}
    assert docs["q0"][-1] == "d1"


def points(seed: int, size: int) -> Points:
    generator = np.random.default_rng(seed)
    vectors = (generator.integers(-2, 3, (size, 2)) / 2).astype(np.float32)
    names = [f"q{i:03d}" for i in range(size)]
    return Points(vectors, u64_array(names), np.arange(size))


def owners_of(seed: int, size: int, width: int) -> Any:
    return np.random.default_rng(seed + 1).integers(-1, size, (size, width))


GROUPS = (st.integers(0, 300), st.integers(2, 30), st.integers(0, 6), st.integers(1, 4))


@given(*GROUPS, st.integers(1, 3))
def test_each_query_stands_in_one_group_or_the_rest(
    seed: int, size: int, width: int, top_k: int, mult: int
) -> None:
    top_k = min(top_k, size - 1)
    p, owners = points(seed, size), owners_of(seed, size, width)
    found = saha_groups(p, owners, top_k, mult, seed, 0)
    every = np.concatenate((found.full.ravel(), found.rest))
    assert sorted(every.tolist()) == list(range(size))
    assert found.full.shape == (size // (top_k + 1), top_k + 1)
    assert found.rest.size == size % (top_k + 1)
    used: set[int] = set()
    filled = 0
    for head, *others in found.full.tolist():
        free = [o for o in dict.fromkeys(owners[head].tolist()) if o not in used | {head, -1}]
        first = free[: top_k * mult]
        first.sort(key=lambda o: (float(p.vectors[o] @ p.vectors[head]), o))
        kept = first[:top_k]
        assert others[: len(kept)] == kept
        filled += top_k - len(kept)
        used |= {head, *others}
    assert found.filled == filled


@given(*GROUPS, st.permutations(range(30)))
def test_the_order_of_the_rows_makes_no_other_groups(
    seed: int, size: int, width: int, top_k: int, order: list[int]
) -> None:
    top_k = min(top_k, size - 1)
    p, owners = points(seed, size), owners_of(seed, size, width)
    turned = np.array([o for o in order if o < size])
    place = np.argsort(turned)
    moved = Points(p.vectors[turned], p.id_hashes[turned], p.rank[turned])
    renamed = np.where(owners < 0, -1, place[np.maximum(owners, 0)])[turned]
    first = saha_groups(p, owners, top_k, 2, seed, 1)
    other = saha_groups(moved, renamed, top_k, 2, seed, 1)
    assert np.array_equal(turned[other.full], first.full)
    assert np.array_equal(turned[other.rest], first.rest)
    assert other.filled == first.filled


def test_without_owners_all_is_filled_at_random_and_an_epoch_draws_again() -> None:
    p, none = points(0, 20), np.full((20, 1), -1)

    def groups(seed: int, epoch: int) -> Groups:
        return saha_groups(p, none, 4, 3, seed, epoch)

    assert (groups(0, 0).filled, groups(0, 0).rest.size) == (16, 0)
    assert np.array_equal(groups(0, 0).full, groups(0, 0).full)
    assert not np.array_equal(groups(0, 0).full, groups(0, 1).full)
    assert not np.array_equal(groups(0, 0).full, groups(1, 0).full)


@pytest.mark.parametrize(("top_k", "mult"), [(0, 1), (3, 0), (5, 1)])
def test_impossible_groups_are_refused(top_k: int, mult: int) -> None:
    with pytest.raises(PyriteError, match=r"saha: top_k=.*1 <= top_k < queries"):
        saha_groups(points(0, 5), owners_of(0, 5, 2), top_k, mult, 0, 0)

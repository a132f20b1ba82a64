from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, toy_dataset
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.candidates import Candidates, Reason
from pyrite.core.config import parse_config
from pyrite.core.embeddings import Embeddings
from pyrite.core.errors import PyriteError
from pyrite.core.run import Prepared, prepare
from pyrite.core.store import read_array
from pyrite.indexes.topk import exact_scores
from pyrite.miner.choose import reasons_of
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mine import MineConfig, context_of, mine
from pyrite.miner.positives import score_positives
from pyrite.miner.truth import truth_test
from pyrite.miner.two_conditions import Triangles, lengths, meets_two_conditions, triangles_of

F32 = npt.NDArray[np.float32]
TWO: dict[str, Any] = {"two_conditions": True}


def at_angle(*degrees: float) -> F32:
    radians = np.radians(degrees)
    return np.stack((np.cos(radians), np.sin(radians)), axis=1).astype(np.float32)


def met(queries: F32, docs: F32, positive: list[int], ids: list[list[int]]) -> list[list[bool]]:
    corpus, asked = Embeddings.from_array(docs), Embeddings.from_array(queries)
    rows = np.arange(len(queries))
    table = np.array(ids, dtype=np.int64)
    scores = exact_scores(queries, corpus, table)
    picked = np.array(positive, dtype=np.int64)
    pos_scores = exact_scores(queries, corpus, picked[:, None])[:, 0]
    candidates = Candidates.of_one(rows, table, scores, "dense")
    triangles = Triangles(corpus, picked, lengths(asked, rows))
    found: list[list[bool]] = meets_two_conditions(candidates, pos_scores, triangles).tolist()
    return found


def test_worked_angles_keep_only_the_one_on_the_other_side() -> None:
    # positive at 30, candidates at -20, 25 (next to the positive) and 50
    docs = at_angle(30, -20, 25, 50)
    assert met(at_angle(0), docs, [0], [[1, 2, 3, -1]]) == [[True, False, False, False]]


@pytest.mark.parametrize("scale", [1e-3, 3.0, 700.0])
def test_the_lengths_of_vectors_do_not_matter(scale: float) -> None:
    docs = at_angle(30, -20, 25, 50) * np.array([[1], [scale], [1 / scale], [scale]], np.float32)
    assert met(at_angle(0) * np.float32(scale), docs, [0], [[1, 2, 3]]) == [[True, False, False]]


def test_equal_distances_and_vectors_of_length_0_do_not_meet_the_rule() -> None:
    docs = np.array([[3, 4], [3, -4], [6, 8], [0, 0], [5, 0]], dtype=np.float32)
    query = np.array([[1, 0]], dtype=np.float32)
    # the mirror image and the copy are as near as the positive; the last is nearer than both
    assert met(query, docs, [0], [[1, 2, 3, 4]]) == [[False, False, False, True]]
    assert met(query, docs, [3], [[0, 1, 4]]) == [[False, False, False]]
    assert met(query * 0, docs, [0], [[1, 4]]) == [[False, False]]


def test_the_best_document_is_no_negative_if_it_is_the_positive() -> None:
    assert met(at_angle(0), at_angle(1, -20, 25, 50), [0], [[1, 2, 3]]) == [[False] * 3]


def cosine(left: F32, right: F32) -> float:
    a, b = left.astype(float), right.astype(float)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


VECTOR = st.lists(st.integers(-5, 5), min_size=3, max_size=3).filter(any)


@given(st.lists(VECTOR, min_size=3, max_size=8), st.lists(VECTOR, min_size=1, max_size=3))
def test_the_rule_equals_a_plain_loop(docs: list[list[int]], queries: list[list[int]]) -> None:
    corpus, asked = np.array(docs, dtype=np.float32), np.array(queries, dtype=np.float32)
    positive = [q % len(docs) for q in range(len(queries))]
    ids = [[*range(len(docs)), -1] for _ in queries]
    found = met(asked, corpus, positive, ids)
    for q, row in enumerate(found):
        assert row[-1] is False
        pos = corpus[positive[q]]
        for d, kept in enumerate(row[:-1]):
            mine = 1 - cosine(asked[q], corpus[d])
            gaps = (1 - cosine(asked[q], pos) - mine, 1 - cosine(pos, corpus[d]) - mine)
            # cosines of small whole numbers are equal or further apart than this
            assert kept == (gaps[0] > 1e-7 and gaps[1] > 1e-7)


def settings(folder: Path, data: Path, **changes: Any) -> MineConfig:
    sections: dict[str, Any] = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "retrieve": {"depth": 60},
        "filters": TWO,
        "sampler": {"name": "topk", "n": 4},
    }
    return parse_config(MineConfig, {**sections, **changes})


def prepared_toy(folder: Path) -> tuple[MineConfig, Prepared]:
    config = settings(folder, toy_dataset(folder / "data"))
    return config, prepare(config, BagOfWords(), "train", True)


@pytest.mark.parametrize("how", ["min", "max"])
def test_the_positive_that_counts_is_the_one_whose_score_counts(tmp_path: Path, how: str) -> None:
    _, prepared = prepared_toy(tmp_path)
    triangles = triangles_of(prepared, how)
    found = score_positives(prepared, how)
    rank = prepared.dataset.corpus.ids.rank_N
    several = 0
    for at, row in enumerate(prepared.queries.rows.tolist()):
        docs = prepared.qrels.positives(row).tolist()
        scores = found.pairs[found.starts[at] : found.starts[at + 1]].tolist()
        best = min if how == "min" else max
        tied = [d for d, s in zip(docs, scores, strict=True) if s == best(scores)]
        assert triangles.positive[row] == min(tied, key=lambda d: int(rank[d]))
        several += len(docs) > 1
    assert several > 5
    unmined = np.setdiff1d(np.arange(len(prepared.dataset.queries)), prepared.queries.rows)
    assert unmined.size
    assert (triangles.positive[unmined] == -1).all()


def test_a_mean_of_positives_is_no_document(tmp_path: Path) -> None:
    _, prepared = prepared_toy(tmp_path)
    with pytest.raises(ValueError, match="picks no document"):
        triangles_of(prepared, "mean")


def test_a_run_marks_what_fails_and_draws_only_what_meets_the_rule(tmp_path: Path) -> None:
    config, prepared = prepared_toy(tmp_path)
    mined = mine(config, BagOfWords())
    reasons = read_array(mined.folder / "reasons.npy")
    failed = int(((reasons & np.uint16(Reason.TWO_CONDITIONS)) != 0).sum())
    assert failed == mined.tally.reasons["TWO_CONDITIONS"] > 0
    assert 0 < mined.tally.drawn
    triangles = triangles_of(prepared, "min")
    rows = prepared.queries.rows
    vectors = prepared.queries.embeddings.take(np.arange(rows.size))
    drawn = {
        row["query_id"]: row["negative_ids"]
        for row in pq.read_table(mined.folder / "negatives.parquet").to_pylist()
    }
    tables, kept = prepared.dataset, (reasons == 0).sum(axis=1)
    for at, row in enumerate(rows.tolist()):
        pos = prepared.corpus.take(triangles.positive[[row]])[0]
        judged = set(prepared.qrels.positives(row).tolist())
        possible = {
            doc
            for doc, vector in enumerate(prepared.corpus.take(np.arange(len(prepared.corpus))))
            if doc not in judged
            and cosine(vectors[at], vector) > cosine(vectors[at], pos) - 1e-6
            and cosine(vectors[at], vector) > cosine(pos, vector) - 1e-6
        }
        assert kept[at] <= len(possible)
        names = drawn[tables.queries.id_strings([row])[0]]
        assert set(tables.corpus.ids.find(names).tolist()) <= possible


def test_blocks_change_nothing(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "data")
    folders = [
        mine(settings(tmp_path / str(n), data, block_queries=n), BagOfWords()).folder
        for n in (3, 1024)
    ]
    for name in ("negatives.parquet", "reasons.npy"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second


def test_the_rule_adds_its_bit_and_takes_none_away(tmp_path: Path) -> None:
    config, prepared = prepared_toy(tmp_path)
    context = context_of(config, prepared)
    rows = prepared.queries.rows
    ids = np.tile(np.arange(len(prepared.corpus)), (rows.size, 1))
    vectors = prepared.queries.embeddings.take(np.arange(rows.size))
    scores = exact_scores(vectors, prepared.corpus, ids)
    candidates = Candidates.of_one(rows, ids, scores, "dense")
    pos_scores = score_positives(prepared, "min").per_query
    without = reasons_of(candidates, pos_scores, context, FilterConfig())
    found = reasons_of(candidates, pos_scores, context, FilterConfig(two_conditions=True))
    assert np.array_equal(found & ~np.uint16(Reason.TWO_CONDITIONS), without)
    assert (found != without).any()


def test_the_truth_test_compares_with_the_positive_that_is_left(tmp_path: Path) -> None:
    config = settings(tmp_path, toy_dataset(tmp_path / "data"))
    assert truth_test(config, BagOfWords()).rows[0].drawn > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"positive_score": "mean"}, "positive_score=mean names none or all; set it to min or max"),
        ({"percent": 0.95}, "set filters.percent=null"),
        ({"margin": 0.0}, "set filters.margin=null"),
    ],
)
def test_rules_that_contradict_it_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(PyriteError, match=message):
        parse_config(FilterConfig, {**TWO, **more})

"""Neighbours of the positive as candidates, SciNCL's window, and documents outside the list."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords
from hypothesis import given
from hypothesis import strategies as st
from test_miner_choose import DOCUMENTS, QUERIES, SEEDS, world
from test_miner_mine import (
    allowed_oracle,
    exact,
    positives_of,
    rows_of,
    settings,
    shuffled_lines,
    texts_of,
    vectors_of,
)
from test_miner_mix import pools

from pyrite.core.candidates import STRUCTURAL
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.text import normalise
from pyrite.eval.config import EvalConfig
from pyrite.eval.evaluate import evaluate
from pyrite.indexes.retrieve import RetrieveConfig
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mine import mine
from pyrite.miner.mix import choose_mix
from pyrite.miner.samplers import SamplerConfig, SamplerPart, Scored, check_hard_rank, log_weights
from pyrite.miner.suggest import suggest

OPEN: dict[str, Any] = {"filters": {"percent": None}}
NEIGHBOURS: dict[str, Any] = {"depth": 60, "sources": [{"query": "positive"}]}


def ranks(reasons: list[int], documents: int, **keys: Any) -> list[int]:
    """Columns inside the window."""
    view = Scored(
        np.zeros((1, len(reasons)), dtype=np.float32),
        np.array([reasons], dtype=np.uint16),
        np.zeros(1, dtype=np.float32),
        documents=documents,
    )
    weights = log_weights(view, SamplerPart(name="scincl", **{"n": 1, **keys}))
    return [int(c) for c in np.flatnonzero(np.isfinite(weights[0]))]


def test_the_published_window() -> None:
    # ranks (3998, 4000] of a corpus that is large enough
    assert ranks([0] * 4100, 80_000) == [3998, 3999]
    # the document itself, removed, has no rank
    assert ranks([4, *[0] * 4100], 80_000) == [3999, 4000]
    # a document that a score rule rejects keeps its rank
    assert ranks([32, *[0] * 4100], 80_000) == [3998, 3999]
    # a corpus of 120 documents: the window ends at rank 6
    assert ranks([0] * 60, 120) == [4, 5]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 60), st.floats(0.05, 1), st.data())
def test_the_upper_rank_is_fixed_and_the_width_is_c(
    k: int, c: int, documents: int, share: float, data: st.DataObject
) -> None:
    reasons = data.draw(st.lists(st.sampled_from([0, 0, 4, 32]), min_size=60, max_size=60))
    c = min(c, k)
    found = ranks(reasons, documents, k_hard=k, c_hard=c, k_share=share)
    allowed = [i for i, reason in enumerate(reasons) if not reason & int(STRUCTURAL)]
    last = min(k, int(share * documents))
    assert found == [i for i in allowed[max(0, last - c) : last] if reasons[i] == 0]


def test_settings_that_cannot_work_are_refused() -> None:
    for keys in ({"n": 4}, {"n": 1, "c_hard": 9, "k_hard": 8}):
        with pytest.raises(PyriteError, match=r"n <= c_hard <= k_hard; set sampler\.n"):
            parse_config(SamplerConfig, {"name": "scincl", **keys})
    part = SamplerPart(name="scincl", n=2)
    with pytest.raises(PyriteError, match=r"k_share=0\.05 of 39 documents.*rank 1, too low"):
        check_hard_rank(part, 39, 30)
    with pytest.raises(PyriteError, match=r"rank 6, but retrieve\.depth=6.*at least 7"):
        check_hard_rank(part, 120, 6)
    check_hard_rank(part, 120, 7)
    for kind in ("bm25s", "lucene"):
        with pytest.raises(PyriteError, match=r"query=positive: only a source of kind dense"):
            parse_config(RetrieveConfig, {"sources": [{"kind": kind, "query": "positive"}]})


def neighbours_oracle(data: Path) -> dict[str, list[tuple[str, float]]]:
    """The corpus by similarity to the first positive by id; the scores are the query's."""
    documents = vectors_of(texts_of(data, "corpus"))
    queries = vectors_of(texts_of(data, "queries"))
    out = {}
    for query, judged in positives_of(data).items():
        near = {d: exact(documents[min(judged)], v) for d, v in documents.items()}
        order = sorted(near, key=lambda d: (-near[d], d))
        out[query] = [(d, exact(queries[query], documents[d])) for d in order]
    return out


def test_mining_around_the_positive_equals_plain_python(toy: Path, tmp_path: Path) -> None:
    sampler = {"name": "scincl", "n": 3, "k_hard": 20, "c_hard": 5, "k_share": 0.2}
    changes: dict[str, Any] = {
        "sampler": sampler,
        "retrieve": {**NEIGHBOURS, "export": True},
    }
    mined = mine(settings(tmp_path, toy, **changes, **OPEN), BagOfWords())
    oracle = neighbours_oracle(toy)
    for row in rows_of(mined.folder):
        query = row["query_id"]
        window = allowed_oracle(toy, query, oracle[query][:60])[15:20]
        found = list(zip(row["negative_ids"], row["scores"], row["ranks"], strict=True))
        assert set(found) <= set(window)
        assert len(found) == 3
    listed: dict[str, list[str]] = {}
    for row in pq.read_table(mined.folder / "candidates.parquet").to_pylist():
        listed.setdefault(row["query_id"], []).append(row["doc_id"])
    assert listed == {query: [d for d, _ in found[:60]] for query, found in oracle.items()}


def test_neighbours_join_other_sources(toy: Path, tmp_path: Path) -> None:
    two = [{"name": "near", "query": "positive", "quota": 20}, {"kind": "dense", "quota": 20}]
    sampler = {"name": "topk", "n": 60}
    config = settings(
        tmp_path, toy, retrieve={"depth": 40, "sources": two}, sampler=sampler, **OPEN
    )
    for row in rows_of(mine(config, BagOfWords()).folder):
        assert set(row["sources"]) <= {"near", "dense"}
        assert row["scores"] == sorted(row["scores"], reverse=True)


def test_the_order_of_the_files_changes_no_byte(toy: Path, tmp_path: Path) -> None:
    hard = {"name": "scincl", "n": 2, "k_share": 0.2}
    sampler = {"mix": [hard, {"name": "random", "n": 3, "outside": True}]}
    changes = {"retrieve": NEIGHBOURS, "sampler": sampler, **OPEN}
    first = mine(settings(tmp_path / "a", toy, **changes), BagOfWords())
    assert mine(settings(tmp_path / "a", toy, **changes), BagOfWords()).reused
    data = tmp_path / "b" / "data"
    shutil.copytree(toy, data)
    for path in ("queries.jsonl", "corpus.jsonl"):
        shuffled_lines(data / path, header=False)
    other = mine(settings(tmp_path / "b", data, block_queries=7, **changes), BagOfWords())
    for file in ("negatives.parquet", "reasons.npy"):
        assert (first.folder / file).read_bytes() == (other.folder / file).read_bytes()


def test_easy_negatives_lie_outside_the_list(toy: Path, tmp_path: Path) -> None:
    hard = {"name": "scincl", "n": 2, "k_share": 0.2}
    sampler = {"mix": [hard, {"name": "random", "n": 3, "outside": True}]}
    config = settings(tmp_path, toy, retrieve=NEIGHBOURS, sampler=sampler, **OPEN)
    mined = mine(config, BagOfWords())
    texts, oracle = texts_of(toy, "corpus"), neighbours_oracle(toy)
    assert mined.tally.negatives == {"5": 30}
    for row in rows_of(mined.folder):
        listed = {normalise(texts[d]) for d, _ in oracle[row["query_id"]][:60]}
        for doc, source in zip(row["negative_ids"], row["sources"], strict=True):
            assert (normalise(texts[doc]) in listed) == (source == "dense")
    # everything is in the list, so nothing is left outside, and that is counted
    config = settings(
        tmp_path / "all", toy, retrieve={**NEIGHBOURS, "depth": 120}, sampler=sampler, **OPEN
    )
    assert mine(config, BagOfWords()).tally.negatives == {"2": 30}


@given(SEEDS, st.integers(1, 12))
def test_random_outside_equals_a_plain_loop(seed: int, n: int) -> None:
    w = world(seed)
    retrieved, random, pos_scores = pools(w, FilterConfig())
    part = SamplerConfig(name="random", n=n, outside=True)
    found = choose_mix(retrieved, random, pos_scores, w.context, part, seed)
    texts = w.context.doc_texts_N
    for q in range(QUERIES):
        listed = {int(texts[d]) for d in retrieved.candidates.ids[q].tolist() if d >= 0}
        free = [
            d
            for d, reason in zip(random.candidates.ids[q], random.reasons[q], strict=True)
            if reason == 0 and int(texts[d]) not in listed
        ]
        drawn = [d for d in found.ids[q].tolist() if d >= 0]
        assert len(drawn) == len(set(drawn)) == min(n, len(free))
        assert set(drawn) <= {int(d) for d in free}
    assert random.candidates.ids.shape == (QUERIES, DOCUMENTS)


def test_suggest_searches_around_the_positive_too(toy: Path, tmp_path: Path) -> None:
    sampler = {"name": "scincl", "n": 2, "k_share": 0.2}
    config = settings(tmp_path, toy, retrieve=NEIGHBOURS, sampler=sampler, **OPEN)
    found = suggest(config, encoder=BagOfWords())
    assert found.outcomes[0].short == 0
    assert len(list((tmp_path / "cache" / "candidates").iterdir())) == 1
    assert not mine(config, BagOfWords()).reused
    assert len(list((tmp_path / "cache" / "candidates").iterdir())) == 1


def test_an_evaluation_may_not_search_with_positives(toy: Path, tmp_path: Path) -> None:
    sections = {
        "cache_dir": str(tmp_path / "cache"),
        "runs_dir": str(tmp_path / "runs"),
        "dataset": {"path": str(toy)},
        "eval": {"source": {"query": "positive"}},
    }
    with pytest.raises(PyriteError, match=r"query=positive, but an evaluation"):
        evaluate(parse_config(EvalConfig, sections), BagOfWords())

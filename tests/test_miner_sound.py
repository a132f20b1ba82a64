from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_files import found
from fakes import BagOfWords, toy_dataset, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrite.core.candidates import Negatives
from pyrite.core.config import parse_config
from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest
from pyrite.core.tables import Qrels
from pyrite.miner import choose_block, mix
from pyrite.miner.audit import audit
from pyrite.miner.audit_checks import Check
from pyrite.miner.choose import Context
from pyrite.miner.equal_queries import share_positives
from pyrite.miner.mine import MineConfig, Mined, mine
from pyrite.miner.sound import check_sound

# positives of equal queries


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 2)), max_size=12),
    st.integers(1, 2),
)
def test_equal_queries_have_each_others_positives(
    texts: list[int], judged: list[tuple[int, int, int]], min_grade: int
) -> None:
    judged = [(q % len(texts), d, g) for q, d, g in judged]
    rows, docs, grades = np.array(judged, dtype=np.int64).reshape(-1, 3).T
    qrels = Qrels.build(rows, docs, grades, len(texts), min_grade)
    shared = share_positives(qrels, np.array(texts, dtype=np.uint64))
    for query, text in enumerate(texts):
        siblings = [other for other in range(len(texts)) if texts[other] == text]
        expected = {d for q, d, g in judged if q in siblings and g >= min_grade}
        assert set(shared.positives(query).tolist()) == expected


def test_without_equal_queries_nothing_is_made_anew() -> None:
    qrels = Qrels.build(np.array([0]), np.array([1]), np.array([1]), 2)
    assert share_positives(qrels, np.array([5, 6], dtype=np.uint64)) is qrels


# what mining writes

TWINS = "w1 w2 w3"
MIXES: list[dict[str, Any]] = [
    {"name": "topk", "n": 3},
    {"name": "random", "n": 3},
    {"name": "topk", "n": 3, "on_short": ["relax", "random_fill"]},
    {"name": "topk", "n": 2, "max_uses": 2},
    {"mix": [{"name": "simans", "n": 1}, {"name": "random", "n": 2}], "on_short": ["relax"]},
]


def run_mine(folder: Path, data: Path, sampler: dict[str, Any], **filters: Any) -> Mined:
    config = {
        "name": "toy",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "retrieve": {"depth": 10},
        "filters": {"percent": None, **filters},
        "sampler": sampler,
    }
    return mine(parse_config(MineConfig, config), BagOfWords())


@settings(max_examples=12)
@given(st.data(), st.sampled_from(MIXES), st.sampled_from([None, 0.8]))
def test_what_is_mined_has_no_audit_error(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    sampler: dict[str, Any],
    percent: float | None,
) -> None:
    folder = tmp_path_factory.mktemp("mined")
    words = st.lists(st.sampled_from(["w1", "w2", "w3", "W1"]), min_size=1, max_size=3)
    texts = words.map(" ".join)
    corpus = {f"d{i}": data.draw(texts) for i in range(12)}
    queries = {f"q{i}": data.draw(texts) for i in range(5)}
    docs = st.lists(st.sampled_from(sorted(corpus)), min_size=1, max_size=3, unique=True)
    rows = [(q, doc, 1) for q in queries for doc in data.draw(docs)]
    write_dataset(folder / "data", corpus, queries, {"train": rows, "test": rows})
    mined = run_mine(folder, folder / "data", sampler, percent=percent)
    result = audit(mined.folder.parent)
    assert result.count("error") == 0, found(result)
    none = mined.tally.as_json()["negatives_per_query"].get("0", 0)
    assert result.counts[Check.NONE_MINED] == none


def test_a_positive_of_an_equal_query_is_not_mined(tmp_path: Path) -> None:
    corpus = {"d1": TWINS, "d2": f"{TWINS} w4", "d3": "w9 w8", "d4": "w7 w6"} | {
        f"x{i}": f"v{i}" for i in range(8)
    }
    train = [("q1", "d2", 1), ("q2", "d3", 1)]
    asked = {"q1": "what w1 w2", "q2": "What  w1 W2"}
    data = write_dataset(tmp_path / "data", corpus, asked, {"train": train})
    mined = run_mine(tmp_path, data, {"name": "topk", "n": 6})
    result = audit(mined.folder.parent)
    assert result.negatives == 12
    assert result.counts[Check.SIBLING_POSITIVE] == 0


def test_rows_left_empty_by_the_filters_are_warnings(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "data")
    mined = run_mine(tmp_path, data, {"name": "topk", "n": 2}, max_score=0.2)
    result = audit(mined.folder.parent)
    none = mined.tally.as_json()["negatives_per_query"]["0"]
    assert result.counts[Check.NONE_MINED] == none > 0
    assert result.passes()
    assert not result.passes(max_warnings=none - 1)


# the check at the writer


@pytest.fixture
def dataset(tmp_path: Path) -> Any:
    corpus = {"d0": "good", "d1": "bad", "d2": "GOOD", "d3": "ask"}
    data = write_dataset(tmp_path / "data", corpus, {"q0": "ask"}, {"train": [("q0", "d0", 1)]})
    return open_dataset(DatasetConfig(path=str(data)), tmp_path / "cache")


def negatives(doc: int, score: float = 0.5, positive: float = 0.9) -> Negatives:
    one = np.ones((1, 1), dtype=np.int32)
    score_11 = np.full((1, 1), score, dtype=np.float32)
    flat = np.zeros((1, 1), dtype=np.uint8)
    ids = np.array([[doc]], dtype=np.int64)
    pos = np.array([positive], dtype=np.float32)
    return Negatives(np.zeros(1, np.int64), ids, score_11, one, flat, score_11, flat, pos, ("x",))


def context(dataset: Any) -> Context:
    hashes = np.array([1, 2, 1, 9], dtype=np.uint64)
    asked = np.array([9], dtype=np.uint64)
    return Context(dataset.qrels("train"), asked, hashes, asked, hashes, np.arange(4))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (negatives(0), "negative 'd0' of query 'q0' is one of its positives"),
        (negatives(2), "negative 'd2' of query 'q0' has the text of the query or of one"),
        (negatives(3), "negative 'd3' of query 'q0' has the text of the query or of one"),
        (negatives(1, np.nan), "negative 'd1' of query 'q0' has a score that is not finite"),
        (negatives(1, 0.5, np.inf), "positive of query 'q0' has a score that is not finite"),
        (negatives(4), r"outside 0\.\.3"),
        (negatives(-2), r"outside 0\.\.3"),
    ],
)
def test_what_an_audit_calls_an_error_is_refused(dataset: Any, bad: Negatives, says: str) -> None:
    with pytest.raises(PyriteError, match=rf"^x\.parquet: not written, since .*{says}"):
        check_sound(bad, context(dataset), dataset.queries, dataset.corpus, Path("x.parquet"))


def test_good_negatives_and_padding_pass(dataset: Any) -> None:
    for good in (negatives(1), negatives(-1, -np.inf)):
        check_sound(good, context(dataset), dataset.queries, dataset.corpus, Path("x"))


@pytest.mark.parametrize(
    "sampler", [{"name": "topk", "n": 2}, {"name": "topk", "n": 2, "max_uses": 5}]
)
def test_a_spoilt_choice_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: dict[str, Any]
) -> None:
    data = toy_dataset(tmp_path / "data")
    before = run_mine(tmp_path, data, sampler, max_score=0.9).folder / "negatives.parquet"
    raw = before.read_bytes()
    choose = mix.choose_mix

    def spoil(retrieved: Any, random: Any, pos: Any, context: Context, *rest: Any) -> Negatives:
        made = choose(retrieved, random, pos, context, *rest)
        ids = made.ids.copy()
        ids[0, 0] = context.qrels.positives(int(made.query_rows[0]))[0]
        return replace(made, ids=ids)

    monkeypatch.setattr(choose_block, "choose_mix", spoil)
    with pytest.raises(PyriteError, match=r"negatives\.parquet: not written, since negative"):
        run_mine(tmp_path, data, sampler)
    assert before.read_bytes() == raw
    # what was there is still a whole artefact, with its own configuration
    manifest = Manifest.read(before.parent)
    assert manifest is not None
    assert manifest.intact(before.parent)
    monkeypatch.setattr(choose_block, "choose_mix", choose)
    assert run_mine(tmp_path, data, sampler, max_score=0.9).reused

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, toy_dataset
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from pyrite.core.candidates import Candidates
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.rng import combine, stream
from pyrite.core.tables import Qrels
from pyrite.miner.choose import Context, choose
from pyrite.miner.draw import draw, first_draw_probability
from pyrite.miner.mine import MineConfig, mine
from pyrite.miner.popularity import owner_counts
from pyrite.miner.samplers import SamplerConfig, Scored, log_weights


def view(owners: list[int], reasons: list[int] | None = None) -> Scored:
    size = len(owners)
    return Scored(
        np.linspace(1, 0, size, dtype=np.float32)[None],
        np.array([reasons or [0] * size], dtype=np.uint16),
        np.array([1.0], dtype=np.float32),
        np.array([owners], dtype=np.int64),
    )


def popularity(power: float = 0.75) -> SamplerConfig:
    return SamplerConfig(name="popularity", power=power, n=2)


def test_worked_weights() -> None:
    weights = log_weights(view([0, 1, 15, 80]), popularity())
    assert np.exp(weights[0]) == pytest.approx([1.0, 1.681793, 8.0, 27.0], rel=1e-5)
    assert weights.dtype == np.float32


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8), st.floats(0, 3))
def test_chances_equal_a_plain_loop(owners: list[int], power: float) -> None:
    found = first_draw_probability(log_weights(view(owners), popularity(power)))[0]
    raw = [math.pow(1 + count, power) for count in owners]
    assert found == pytest.approx([w / sum(raw) for w in raw], rel=1e-4, abs=1e-7)


def test_power_0_is_uniform_and_what_is_rejected_has_no_weight() -> None:
    assert log_weights(view([0, 7, 3]), popularity(0.0)).tolist() == [[0.0, 0.0, 0.0]]
    weights = log_weights(view([0, 7, 3], [0, 32, 0]), popularity())
    assert np.isfinite(weights[0]).tolist() == [True, False, True]


JUDGED = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 7), st.integers(0, 2)),
    max_size=20,
    unique_by=lambda t: t[:2],
)
ROW = st.lists(st.integers(-1, 9), min_size=4, max_size=4)


@given(JUDGED, st.lists(ROW, max_size=4), st.integers(1, 2))
def test_counts_equal_a_plain_loop(
    judged: list[tuple[int, int, int]], rows: list[list[int]], min_grade: int
) -> None:
    query, doc, grade = np.array(judged, dtype=np.int64).reshape(-1, 3).T
    qrels = Qrels.build(query, doc, grade, 5, min_grade)
    found = owner_counts(np.array(rows, dtype=np.int64).reshape(-1, 4), qrels)
    expected = [[sum(d == i and g >= min_grade for _, d, g in judged) for i in row] for row in rows]
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_first_draws_follow_the_weights() -> None:
    draws, owners = 20_000, [0, 1, 3, 15, 80]
    weights = np.repeat(log_weights(view(owners), popularity()), draws, axis=0)
    bits = combine(stream(3, 0), np.arange(draws * len(owners)).reshape(draws, -1))
    ties = np.zeros(weights.shape, dtype=np.int64)
    counts = np.bincount(draw(weights, bits, ties, 1)[:, 0], minlength=len(owners))
    raw = np.array([(1 + count) ** 0.75 for count in owners])
    assert chisquare(counts, draws * raw / raw.sum()).pvalue > 0.001


def test_choosing_counts_the_judgements_of_all_queries() -> None:
    # document 2 is a positive of 3,000 queries, 0 and 1 of none
    queries = 4_000
    owners = np.arange(1_000, queries)
    qrels = Qrels.build(
        owners, np.full(owners.size, 2), np.ones(owners.size, dtype=np.int64), queries
    )
    rows = np.arange(1_000)
    ids = np.tile(np.array([0, 1, 2]), (rows.size, 1))
    scores = np.tile(np.array([0.9, 0.8, 0.1], dtype=np.float32), (rows.size, 1))
    hashes = combine(stream(9, 0), np.arange(queries))
    context = Context(qrels, hashes, hashes[:3], hashes, hashes[:3] + np.uint64(1), np.arange(3))
    found = choose(
        Candidates.of_one(rows, ids, scores, "dense"),
        np.zeros(ids.shape, dtype=np.uint16),
        np.ones(rows.size, dtype=np.float32),
        context,
        SamplerConfig(name="popularity", n=1),
        0,
    )
    share = 3001**0.75 / (3001**0.75 + 2)
    assert found.probabilities[found.ids == 2] == pytest.approx(share, rel=1e-5)
    assert (found.ids == 2).mean() > share - 0.02


def test_a_run_prefers_popular_documents(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "data", documents=60, queries=80)
    mean = {}
    for power in (0.0, 100.0):
        sections = {
            "name": f"power-{power:g}",
            "runs_dir": str(tmp_path / "runs"),
            "cache_dir": str(tmp_path / "cache"),
            "dataset": {"path": str(data)},
            "retrieve": {"depth": 40},
            "filters": {},
            "sampler": {"name": "popularity", "power": power, "n": 3},
        }
        folder = mine(parse_config(MineConfig, sections), BagOfWords()).folder
        lines = (data / "qrels" / "train.tsv").read_text("utf-8").splitlines()[1:]
        judged = [line.split("\t")[1] for line in lines]
        rows = pq.read_table(folder / "negatives.parquet").to_pylist()
        drawn = [doc for row in rows for doc in row["negative_ids"]]
        mean[power] = sum(judged.count(doc) for doc in drawn) / len(drawn)
    assert mean[100.0] > mean[0.0] + 0.5


@pytest.mark.parametrize("power", [-0.1, 100.5, float("nan")])
def test_a_bad_power_is_refused_by_name(power: float) -> None:
    with pytest.raises(PyriteError, match="power"):
        parse_config(SamplerConfig, {"name": "popularity", "power": power})

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords, write_dataset
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from test_miner_mine import positives_of, rows_of, settings

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.run import prepare
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mine import mine
from pyrite.miner.samplers import SamplerConfig
from pyrite.miner.suggest_grid import Setting
from pyrite.miner.truth import Truth, _interval, hidden_of, truth_test
from pyrite.miner.truth_report import truth_table

OPEN = FilterConfig()
TOP = Setting("topk", "topk", OPEN, SamplerConfig(name="topk", n=3))
MARGIN = Setting("margin", "margin", FilterConfig(margin=0.1), SamplerConfig(name="topk", n=3))
RANDOM = Setting("random", "random", OPEN, SamplerConfig(name="random", n=3))


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Queries with one to four positives that share a word with them, and other documents."""
    corpus, queries, qrels = {}, {}, []
    for q in range(12):
        queries[f"q{q:02d}"] = f"alpha{q} beta{q}"
        for p in range(q % 4 + 1):
            corpus[f"p{q:02d}{p}"] = f"alpha{q} beta{q} gamma{p} delta{p} note{q}{p}"
            qrels.append((f"q{q:02d}", f"p{q:02d}{p}", 1))
        for other in range(6):
            corpus[f"n{q:02d}{other}"] = f"alpha{q} gamma{other} epsilon{other} zeta{q}{other}"
    return write_dataset(tmp_path / "several", corpus, queries, {"train": qrels})


CHANGES: list[dict[str, Any]] = [
    {},
    {"retrieve": {"depth": 60, "sources": [{"query": "positive"}]}},
    {"sampler": {"name": "saha", "n": 3}},
    {
        "sampler": {"name": "topk", "n": 3, "cluster": "second_nearest"},
        "filters": {"cluster_false_negatives": True, "clusters": 6},
    },
]


@pytest.mark.parametrize("changes", CHANGES, ids=["plain", "neighbours", "saha", "clusters"])
def test_hidden_positives_are_counted_as_a_plain_run_on_reduced_labels(
    tmp_path: Path, several: Path, changes: dict[str, Any]
) -> None:
    """Mining with the other labels deleted from the file draws the same negatives."""
    config = settings(tmp_path, several, **{"filters": {}, **changes})
    prepared = prepare(config, BagOfWords(), "train")
    hidden = hidden_of(config, prepared)
    configured = Setting("configured", "configured", config.filters, config.sampler)
    found = truth_test(config, BagOfWords(), [configured, TOP, MARGIN, RANDOM])

    queries, docs = hidden.qrels.pairs()
    ids = prepared.dataset.queries.id_strings, prepared.dataset.corpus.id_strings
    reduced = several.parent / "reduced"
    (reduced / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (reduced / name).write_bytes((several / name).read_bytes())
    lines = [f"{q}\t{d}\t1" for q, d in zip(ids[0](queries), ids[1](docs), strict=True)]
    header = "query-id\tcorpus-id\tscore\n"
    (reduced / "qrels" / "train.tsv").write_text(header + "\n".join(lines) + "\n", "utf-8")
    secret = positives_of(several)
    left = positives_of(reduced)
    tested = {q for q in secret if len(secret[q]) > 1}
    assert all(len(left[q]) == 1 for q in tested)
    assert found.queries == len(tested)
    assert found.hidden == sum(len(secret[q]) - 1 for q in tested)

    for row in found.rows:
        sections: dict[str, Any] = {
            "sampler": row.setting.sampler.model_dump(),
            "filters": row.setting.filters.model_dump(),
            "retrieve": config.retrieve.model_dump(),
        }
        run = settings(tmp_path / row.setting.label, reduced, **sections)
        mined = [r for r in rows_of(mine(run, BagOfWords()).folder) if r["query_id"] in tested]
        drawn = [(r["query_id"], d) for r in mined for d in r["negative_ids"]]
        hits = [d in secret[q] - left[q] for q, d in drawn]
        gaps = [s - r["pos_score"] for r in mined for s in r["scores"]]
        assert (row.drawn, row.found) == (len(drawn), sum(hits))
        assert row.false_negatives == pytest.approx(np.mean(hits))
        assert row.hardness == pytest.approx(np.mean(gaps), abs=1e-6)


def by_name(found: Truth) -> dict[str, Any]:
    return {row.setting.label: row for row in found.rows}


def test_the_top_holds_hidden_positives_and_random_documents_few(
    tmp_path: Path, several: Path
) -> None:
    found = truth_test(settings(tmp_path, several, filters={}), BagOfWords(), [TOP, RANDOM])
    rows = by_name(found)
    assert found.retrieved == found.hidden
    assert rows["topk"].false_negatives > 0.4 > rows["random"].false_negatives
    assert rows["topk"].hardness > rows["random"].hardness
    for row in by_name(found).values():
        low, high = row.false_negatives_ci95
        assert low <= row.false_negatives <= high
        assert row.hardness_ci95[0] <= row.hardness <= row.hardness_ci95[1]
    assert rows["topk"].false_negatives_ci95[0] < rows["topk"].false_negatives_ci95[1]


@pytest.mark.filterwarnings("error")
def test_a_resample_that_draws_nothing_has_no_ratio() -> None:
    # of three queries one draws: the ratio of every resample that holds it is that query's
    gaps, drawn = np.array([-0.8, 0.0, 0.0]), np.array([4.0, 0.0, 0.0])
    assert _interval(gaps, drawn, seed=0) == pytest.approx((-0.2, -0.2))
    assert _interval(gaps[:1], drawn[:1], seed=0) is None


@given(seed=st.integers(0, 999), size=st.integers(2, 9))
@settings_of(max_examples=20, deadline=None)
def test_an_interval_is_that_of_plain_resampling(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 3, size).astype(np.float64)
    drawn[0] = 2
    gaps = -drawn * rng.random(size)
    ratios = []
    for _ in range(4000):
        rows = rng.integers(0, size, size)
        if drawn[rows].sum():
            ratios.append(gaps[rows].sum() / drawn[rows].sum())
    found = _interval(gaps, drawn, seed)
    assert found is not None
    wanted = np.quantile(ratios, (0.025, 0.975))
    spread = max(ratios) - min(ratios)
    assert found == pytest.approx(wanted, abs=0.2 * spread + 1e-9)


def test_the_default_grid_the_table_and_repetition(tmp_path: Path, several: Path) -> None:
    config = settings(tmp_path, several)
    first, second = truth_test(config, BagOfWords()), truth_test(config, BagOfWords())
    assert first == second
    assert first.rows[0].setting.label == "configured"
    assert truth_table(first).row_count == len(first.rows) > 20
    assert first.as_json()["settings"][0]["setting"] == "configured"


def test_a_setting_that_leaves_nothing_has_no_share(tmp_path: Path, several: Path) -> None:
    nothing = Setting("none", "none", FilterConfig(max_score=-9.0), SamplerConfig(name="topk"))
    row = truth_test(settings(tmp_path, several), BagOfWords(), [nothing]).rows[0]
    assert (row.drawn, row.false_negatives, row.hardness_ci95) == (0, None, None)
    assert truth_table(truth_test(settings(tmp_path, several), BagOfWords(), [nothing])).row_count


def test_without_several_positives_there_is_nothing_to_hide(tmp_path: Path) -> None:
    corpus = {"a": "one text", "b": "one  TEXT", "c": "three"}
    qrels = {"train": [("q", "a", 1), ("q", "b", 1)]}
    data = write_dataset(tmp_path / "data", corpus, {"q": "one"}, qrels)
    config = parse_config(
        type(settings(tmp_path, data)),
        {**settings(tmp_path, data).model_dump(), "retrieve": {"depth": 3}},
    )
    with pytest.raises(PyriteError, match=r"no query has two positives with different texts"):
        truth_test(config, BagOfWords(), [TOP])

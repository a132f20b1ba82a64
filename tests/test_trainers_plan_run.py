"""A plan beside what it plans: bytes of files, bounds that searches state, the verb itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from cli_setup import in_process, write_setup
from fakes import BagOfWords
from plan_setup import RATES, config_of

from pyrite import plan
from pyrite.core.config import load_config
from pyrite.core.embeddings import Embeddings
from pyrite.core.errors import PyriteError
from pyrite.core.run import prepare_mining
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_exact
from pyrite.indexes.retrieve import _Search
from pyrite.indexes.sources import open_source
from pyrite.miner.mine import mine, search_inputs
from pyrite.trainers.plan import measure, measure_mining, measure_model
from pyrite.trainers.plan.ann_work import ann_work
from pyrite.trainers.plan.disk import candidates_bytes, negatives_bytes, texts_bytes, vectors_bytes
from pyrite.trainers.plan.memory import dense_memory, retrieve_memory
from pyrite.trainers.plan.plan import PlanOptions
from pyrite.trainers.plan.sizes import Said, sizes_of
from pyrite.trainers.plan.toy import unit_vectors
from pyrite.trainers.run_config import TrainConfig

# what a file has around its rows
HEADER = 128


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of 90 documents, 40 queries and the tiny model."""
    return write_setup(tmp_path_factory.mktemp("plan"), documents=90, queries=40)


@pytest.fixture
def config(setup: Path) -> TrainConfig:
    return load_config(TrainConfig, setup)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calibration on less."""
    monkeypatch.setattr(measure_mining, "NUMBERS", 60_000)
    monkeypatch.setattr(measure_mining, "_LEAST_ROWS", 64)
    for name, value in (("_FEW", 8), ("_MANY", 16), ("_MOST", 32)):
        monkeypatch.setattr(measure_mining, name, value)
    monkeypatch.setattr(measure, "_WRITE_BYTES", 1 << 16)
    monkeypatch.setattr(measure_model, "_SECONDS", 0.2)


@pytest.fixture
def given_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """No calibration at all."""
    monkeypatch.setattr("pyrite.trainers.plan.plan.measured_rates", lambda *a: RATES)


def test_planned_bytes_are_those_of_the_files(config: TrainConfig, tmp_path: Path) -> None:
    encoder = BagOfWords(16)
    run = config.model_copy(
        update={"runs_dir": str(tmp_path / "runs"), "cache_dir": str(tmp_path / "cache")}
    )
    of = sizes_of(run.dataset, run.cache, encoder.lengths, Said(), 64)
    assert (of.documents, of.queries, of.held_out, of.asked) == (90, 30, 10, 40)
    folder = mine(run, encoder).folder
    found = {
        name: sum(p.stat().st_size for p in run.cache.rglob(pattern))
        for name, pattern in (("texts", "texts.arrow"), ("vectors", "emb-*.npy"))
    }
    texts = texts_bytes(of.documents, of.document) + texts_bytes(of.asked, of.query)
    # Arrow's schema, and columns that begin at multiples of 64
    assert 0 <= found["texts"] - texts < 2 * 1600
    rows = of.documents + of.queries
    digests = sum(p.stat().st_size for p in run.cache.rglob("embeddings/*/texts.npy"))
    vectors = found["vectors"] + digests
    assert vectors == vectors_bytes(rows, 16, 4) + 4 * HEADER
    (candidates,) = (run.cache / "candidates").iterdir()
    columns = sum(p.stat().st_size for p in candidates.glob("*.npy"))
    assert columns == candidates_bytes(of.queries, 20) + 5 * HEADER
    assert (folder / "reasons.npy").stat().st_size == 2 * of.queries * 20 + HEADER
    negatives = negatives_bytes(of.queries, 2, of.query.id_bytes, of.document.id_bytes)
    assert (folder / "negatives.parquet").stat().st_size < negatives + 8000
    # other sizes are said, and everything of the dataset grows with them
    more = sizes_of(run.dataset, run.cache, encoder.lengths, Said(900, 300), 64)
    assert (more.documents, more.queries, more.held_out, more.asked) == (900, 300, 10, 310)
    assert more.pairs == 10 * of.pairs


def test_memory_is_the_bound_that_the_search_states(config: TrainConfig, tmp_path: Path) -> None:
    update = {"runs_dir": str(tmp_path / "runs"), "cache_dir": str(tmp_path / "cache")}
    sources: list[dict[str, Any]] = [{"kind": "dense"}, {"kind": "bm25s", "quota": 5}]
    for kinds in (sources[:1], sources):
        retrieve = config_of(retrieve={"depth": 20, "sources": kinds}).retrieve
        run = config.model_copy(update={**update, "retrieve": retrieve})
        prepared = prepare_mining(run, BagOfWords(16))
        inputs = search_inputs(run, prepared, prepared.qrels)
        opened = [open_source(s, inputs, 20, run.cache, 1, "x")[0] for s in retrieve.sources]
        stated = _Search(inputs, retrieve, opened, tmp_path).memory_bytes()
        assert retrieve_memory(retrieve, 90, 30, 16) == stated
    index = IndexConfig(backend="faiss")
    corpus = Embeddings.from_array(unit_vectors(500, 16))
    real = open_exact(index, corpus, np.arange(500), 1)
    assert dense_memory(index, 100, 50, 500, 16) == real.memory_bytes(100, 50)


@pytest.mark.parametrize(
    "factory",
    ["IVF16,Flat", "IVF16,PQ4", "IVF16,SQ8", "IVF16,SQfp16", "HNSW16", "PQ4", "SQ8", "Flat,RFlat"],
)
def test_an_index_is_as_large_as_planned(factory: str) -> None:
    faiss.omp_set_num_threads(1)
    vectors = unit_vectors(1500, 16)
    index = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    if "PQ" in factory:
        # seconds, and not a byte more or less
        inner: Any = faiss.downcast_index(index)
        inner.do_polysemous_training = False
    index.train(vectors)
    index.add(vectors)
    work = ann_work(IndexConfig(backend="faiss", factory=factory), 16)
    assert work is not None
    # levels of the graph above the lowest
    assert faiss.serialize_index(index).size == pytest.approx(work.memory(1500), rel=0.15)
    assert work.build(3000) > work.build(1500) > 0
    assert work.search(1500, 20, 10) > work.search(1500, 10, 10) > 0


def test_a_dataset_that_is_not_here_has_to_be_said(
    config: TrainConfig, given_rates: None, tmp_path: Path
) -> None:
    away = config.dataset.model_copy(update={"path": str(tmp_path / "none")})
    run = config.model_copy(update={"dataset": away})
    with pytest.raises(PyriteError, match=r"not on this machine.*--docs and --queries"):
        plan(run)
    found = plan(run, PlanOptions(Said(8_800_000, 500_000)))
    assert (found.sizes.documents, found.sizes.queries) == (8_800_000, 500_000)
    assert found.sizes.document.mean_tokens == 32
    assert "the dataset is not here" in found.notes[0]
    assert plan(run, PlanOptions(Said(10, 10, 5, 7))).sizes.document.mean_tokens == 7


@pytest.mark.slow
def test_a_plan_measures_once_and_runs_nothing(
    config: TrainConfig, short: None, tmp_path: Path
) -> None:
    run = config.model_copy(
        update={"runs_dir": str(tmp_path / "runs"), "cache_dir": str(tmp_path / "cache")}
    )
    first = plan(run)
    assert not (tmp_path / "runs").exists()
    (kept,) = (tmp_path / "cache").rglob("*.json")
    before = kept.stat().st_mtime_ns
    assert plan(run).rates == first.rates
    assert kept.stat().st_mtime_ns == before
    assert first.whole
    assert all(one.basis == "measured" for one in first.stages)
    rates = first.rates
    assert rates.train is not None
    assert min(rates.train, rates.tokens, rates.write, *filter(None, rates.encode.values())) > 0
    plan(run, PlanOptions(measure=True))
    assert kept.stat().st_mtime_ns > before


def test_encoders_of_other_kinds_are_planned(
    config: TrainConfig, given_rates: None, tmp_path: Path
) -> None:
    np.save(tmp_path / "c.npy", unit_vectors(90, 8))
    np.save(tmp_path / "q.npy", unit_vectors(40, 8))
    files = {"corpus": str(tmp_path / "c.npy"), "queries": str(tmp_path / "q.npy")}
    section = {"kind": "precomputed", "precomputed": files}
    run = config.model_copy(update={"encoder": config_of(encoder=section).encoder})
    found = plan(run)
    assert found.stage("encode documents").seconds == found.stage("encode documents").disk == 0
    assert found.stage("train mined").seconds is None
    asked = config_of(encoder={"kind": "openai", "openai": {"model": "m", "base_url": "http://x"}})
    with pytest.raises(PyriteError, match=r"encoder\.openai\.dimensions"):
        plan(config.model_copy(update={"encoder": asked.encoder}))


def test_the_verb_prints_tables(
    setup: Path,
    given_rates: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    call = ("plan", str(setup), "--docs", "8.8M", "--queries", "500k")
    more = ("--device", "h200", "--price-per-hour", "3", "--depth", "100")
    outcome = in_process(monkeypatch, capfd, *call, *more)
    assert outcome.code == 0, outcome.err
    assert "8,800,000 documents" in outcome.out
    assert "500,000 queries, depth 100" in outcome.out
    lines = outcome.out.partition("the largest sizes")[0].splitlines()
    for name in ("encode documents", "train mined", "search"):
        (line,) = (one for one in lines if f" {name} " in one)
        assert "assumed" in line
    assert "time on h200: assumed, not measured" in outcome.out
    assert "largest" in outcome.out


def test_the_verb_as_json(
    setup: Path,
    given_rates: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    call = ("plan", str(setup), "--eval-queries", "1k", "--price-per-hour", "2", "--json")
    outcome = in_process(monkeypatch, capfd, *call)
    found = json.loads(outcome.out)
    assert found["sizes"]["held_out"] == 1000
    assert found["device"] is None
    total = found["total"]
    assert total["seconds"] == pytest.approx(sum(one["seconds"] for one in found["stages"]))
    assert total["price"] == pytest.approx(total["seconds"] / 3600 * 2)
    assert total["disk"] >= sum(one["disk"] for one in found["stages"])
    assert {one["bound"] for one in found["limits"]} == {"disk", "memory"}

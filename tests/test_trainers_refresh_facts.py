from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, write_dataset
from test_miner_mine import positives_of, settings

from pyrite.core.dataset import DatasetConfig
from pyrite.core.errors import PyriteError
from pyrite.core.run import Prepared, QuerySet, prepare_mining
from pyrite.eval.config import EvalConfig
from pyrite.eval.search import evaluate_encoder
from pyrite.miner.choose import Context
from pyrite.miner.clusters import Clusters, fit_clusters
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mine import MineConfig, context_of, mine
from pyrite.miner.negatives_file import FILE, ScoredRows, read_scored
from pyrite.miner.suggest_grid import Setting
from pyrite.miner.truth import truth_test
from pyrite.trainers import refresh_facts
from pyrite.trainers.refresh_facts import estimate_false_negatives, measure_facts
from pyrite.trainers.refresh_gate import Facts, GateSection, decide
from pyrite.trainers.run_config import TrainConfig

ALL = GateSection(split="dev", max_ndcg_drop=0.1, min_overlap=0.1, max_false_negative_share=0.9)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training queries, nine of them with several positives, and six to develop on."""
    corpus, queries = {}, {}
    qrels: dict[str, list[tuple[str, str, int]]] = {"train": [], "dev": [], "test": []}
    for q in range(20):
        split = "train" if q < 12 else "dev" if q < 18 else "test"
        queries[f"q{q:02d}"] = f"alpha{q} beta{q}"
        for p in range(q % 4 + 1):
            corpus[f"p{q:02d}{p}"] = f"alpha{q} beta{q} gamma{p} delta{p} note{q}{p}"
            qrels[split].append((f"q{q:02d}", f"p{q:02d}{p}", 1))
        for other in range(6):
            corpus[f"n{q:02d}{other}"] = f"alpha{q} gamma{other} epsilon{other} zeta{q}{other}"
    qrels["copy"] = [*qrels["dev"], qrels["train"][0]]
    return write_dataset(tmp_path_factory.mktemp("several"), corpus, queries, qrels)


def mined(config: MineConfig, encoder: BagOfWords) -> tuple[Prepared, ScoredRows]:
    prepared = prepare_mining(config, encoder)
    path = mine(config, encoder).folder / FILE
    tables = (prepared.dataset.queries, prepared.dataset.corpus)
    return prepared, read_scored(path, *tables, config.sampler.total)


@pytest.fixture
def run(tmp_path: Path, data: Path) -> TrainConfig:
    found = settings(tmp_path, data, filters={})
    return TrainConfig.model_validate(found.model_dump(exclude_unset=True))


def test_the_truth_test_of_the_configured_setting_judges_where_positives_can_be_hidden(
    run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_facts, "MIN_TESTED", 9)
    prepared, negatives = mined(run, BagOfWords())
    configured = Setting("configured", "configured", run.filters, run.sampler)
    wanted = truth_test(run, BagOfWords(), [configured])
    found = estimate_false_negatives(run, prepared, negatives)
    assert wanted.rows[0].false_negatives
    assert found.share == wanted.rows[0].false_negatives
    assert (found.estimate, found.queries) == ("hidden positives", 9)


def test_the_clusters_that_mined_are_those_that_judge(
    run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_facts, "MIN_TESTED", 9)
    capped = FilterConfig(percent=None, max_per_cluster=1, clusters=4)
    run = run.model_copy(update={"filters": capped})
    prepared, negatives = mined(run, BagOfWords())
    rank = prepared.dataset.corpus.ids.rank_N
    given = fit_clusters(prepared.corpus, rank, 3, 1)
    seen: list[Clusters | None] = []

    def spy(*args: Any) -> Context:
        context = context_of(*args)
        seen.append(context.clusters)
        return context

    monkeypatch.setattr(refresh_facts, "context_of", spy)
    gate = GateSection(max_false_negative_share=0.9)
    measure_facts(gate, run, BagOfWords(), prepared, None, negatives, None, given)
    measure_facts(gate, run, BagOfWords(), prepared, None, negatives, None)
    assert seen[0] is given
    assert seen[1] is not None
    assert len(seen[1]) == 4


def test_the_proxy_judges_where_too_few_can_be_hidden(
    run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_facts, "MIN_TESTED", 10)
    encoder = BagOfWords()
    prepared, negatives = mined(run, encoder)
    found = estimate_false_negatives(run, prepared, negatives)
    assert (found.estimate, found.queries) == ("proxy", 12)
    dataset, vector = prepared.dataset, encoder.encode_documents

    def text(table: Any, name: str) -> str:
        return str(table.texts(table.ids.find([name]))[0])

    positives = [
        float((vector([text(dataset.queries, q)]) @ vector([text(dataset.corpus, d)]).T)[0, 0])
        for q, docs in positives_of(Path(run.dataset.path)).items()
        for d in docs
    ]
    rows = pq.read_table(run.run_folder / "negatives" / FILE).to_pylist()
    scores = [score for row in rows for score in row["scores"]]
    pairs = [positive <= score + 1e-6 for score in scores for positive in positives]
    assert 0 < sum(pairs) < len(pairs)
    assert found.share == pytest.approx(sum(pairs) / len(pairs), abs=2 / len(pairs))


def test_the_development_split_is_measured_as_an_evaluation_does(run: TrainConfig) -> None:
    encoder = BagOfWords()
    prepared, negatives = mined(run, encoder)
    before = encoder.encoded
    found = measure_facts(ALL, run, encoder, prepared, negatives, negatives, 0.25)
    assert encoder.encoded - before == 6  # the queries: the corpus is encoded already
    fields = run.model_dump(include={"runs_dir", "cache_dir", "threads"})
    dataset = DatasetConfig(path=run.dataset.path, eval_split="dev")
    wanted = evaluate_encoder(EvalConfig(**fields, dataset=dataset), BagOfWords()).means()
    assert found.ndcg == wanted["ndcg@10"]
    assert found.facts == Facts(
        ndcg=found.ndcg,
        best_ndcg=0.25,
        overlap=1.0,
        false_negative_share=found.false_negatives.share if found.false_negatives else None,
    )
    assert found.facts.false_negative_share is not None
    assert decide(ALL, found.facts) == ()
    assert found.as_json()["churn"] == {"value": 0.0, "queries": 12, "left_out": 0}
    assert found.as_json()["false_negatives"]["estimate"] == "proxy"


def test_nothing_is_encoded_for_a_gate_without_limits(run: TrainConfig) -> None:
    encoder = BagOfWords()
    prepared, negatives = mined(run, encoder)
    other = replace(negatives, ids=np.roll(negatives.ids, 1, axis=0))
    before = encoder.encoded
    found = measure_facts(GateSection(), run, encoder, prepared, other, negatives, None)
    assert encoder.encoded == before
    assert (found.ndcg, found.false_negatives) == (None, None)
    assert found.churn is not None
    assert found.churn.value is not None
    assert found.churn.value > 0
    assert found.facts.overlap == 1 - found.churn.value


def test_the_first_generation_has_no_overlap(run: TrainConfig) -> None:
    prepared, negatives = mined(run, BagOfWords())
    found = measure_facts(GateSection(), run, BagOfWords(), prepared, None, negatives, None)
    assert (found.churn, found.facts.overlap) == (None, None)
    assert found.as_json()["churn"] is None


def test_queries_that_were_not_mined_again_do_not_count(run: TrainConfig) -> None:
    encoder = BagOfWords()
    prepared, negatives = mined(run, encoder)
    part = prepared.queries.rows[:3]
    chunk = replace(prepared, queries=QuerySet(part, prepared.queries.embeddings))
    fresh = np.isin(negatives.query_rows, part)
    changed = np.where(fresh[:, None], np.roll(negatives.ids, 3, axis=0), negatives.ids)
    after = replace(negatives, ids=changed)
    found = measure_facts(GateSection(), run, encoder, chunk, negatives, after, None)
    whole = measure_facts(GateSection(), run, encoder, prepared, negatives, after, None)
    assert found.churn is not None
    assert whole.churn is not None
    assert found.churn.value == pytest.approx(1.0)
    assert whole.churn.value == pytest.approx(3 / 12)
    assert (found.churn.queries, whole.churn.queries) == (3, 12)


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ("none", ("refresh.gate.split=none", "no such split", "dataset.train_split=train")),
        ("copy", ("refresh.gate.split=copy", "1 of its 7 queries are in dataset.train_split")),
        ("test", ("refresh.gate.split=test", "2 of its 2 queries are in dataset.eval_split")),
    ],
)
def test_a_split_that_cannot_judge_is_a_mistake(
    run: TrainConfig, split: str, says: tuple[str, ...]
) -> None:
    prepared, negatives = mined(run, BagOfWords())
    gate = GateSection(split=split)
    with pytest.raises(PyriteError) as caught:
        measure_facts(gate, run, BagOfWords(), prepared, None, negatives, None)
    assert all(part in str(caught.value) for part in says)

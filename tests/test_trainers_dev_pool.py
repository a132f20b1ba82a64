"""Early stopping in a pool: its documents, its values, their agreement with the corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import quick
from training_bench import Bench, facts_of, make_bench, same

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.run import build_encoder, open_queries
from pyrite.core.sbert import load_model
from pyrite.eval.pooled import kendall_tau
from pyrite.trainers.best import best_step
from pyrite.trainers.dev_pool import agreement, dev_pool
from pyrite.trainers.early_stopping import DevEvaluator
from pyrite.trainers.refresh_home import RefreshHome
from pyrite.trainers.refresh_log import RefreshLog
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train import train

POOLED = {"split": "dev", "every": 1, "patience": 20, "pool_depth": 4}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


def pool_by_loops(config: TrainConfig, depth: int, more: dict[str, list[str]]) -> list[int]:
    """What is judged, the best of plain products, and the first of the lists in `more`."""
    encoder = build_encoder(config)
    dataset, qrels, rows = open_queries(config, "dev")
    corpus = dataset.corpus
    documents = encoder.encode_documents(corpus.texts(slice(None))).astype(np.float64)
    wanted = {int(doc) for doc in qrels.docs}
    ids = corpus.id_strings(slice(None))
    for row, query_id in zip(rows, dataset.queries.id_strings(rows), strict=True):
        query = encoder.encode_queries(dataset.queries.texts([int(row)]))[0].astype(np.float64)
        scores = (documents @ query).tolist()
        order = sorted(range(len(ids)), key=lambda at: (-scores[at], ids[at]))
        wanted.update(order[:depth])
        wanted.update(ids.index(doc) for doc in more.get(query_id, [])[:depth])
    return sorted(wanted)


def test_the_pool_is_what_plain_loops_find(bench: Bench, tmp_path: Path) -> None:
    dataset, _, rows = open_queries(bench.run, "dev")
    ids = dataset.corpus.id_strings(slice(None))
    lists = {
        query: ids[7 * at : 7 * at + 6]
        for at, query in enumerate(dataset.queries.id_strings(rows[::2]))
    }
    lines = [
        f"{query} Q0 {doc} {rank} {-rank} x"
        for query, docs in lists.items()
        for rank, doc in enumerate(docs, start=1)
    ]
    (tmp_path / "x.run").write_text("\n".join(lines) + "\n", "utf-8")
    sources = [{"kind": "dense"}, {"kind": "run", "path": str(tmp_path / "x.run")}]
    config = bench.config(early_stopping={**POOLED, "pool_sources": sources})
    found = dev_pool(config, build_encoder(config), "dev", 3)
    assert found.tolist() == pool_by_loops(config, 3, lists)
    assert 0 < found.size < len(dataset.corpus)
    assert dev_pool(config, build_encoder(config), "dev", 3).tolist() == found.tolist()


def test_by_default_words_and_vectors_make_the_pool(bench: Bench) -> None:
    config = bench.config(early_stopping=POOLED)
    found = dev_pool(config, build_encoder(config), "dev", 4)
    dense = pool_by_loops(config, 4, {})
    assert set(dense) < set(found.tolist())


def test_a_training_reports_tau_over_what_was_measured_twice(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, dict[str, float]] = {}
    call = DevEvaluator.__call__

    def watched(self: DevEvaluator, model: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        seen[kwargs["steps"]] = found = call(self, model, *args, **kwargs)
        return dict(found)

    monkeypatch.setattr(DevEvaluator, "__call__", watched)
    options: dict[str, Any] = {"learning_rate": 0.01, "warmup": 0.0, "steps": 8, "dropout": 0.0}
    with caplog.at_level(logging.INFO):
        bench.train(tmp_path, early_stopping={**POOLED, "full_every": 2}, **options)
    both = [step for step, found in seen.items() if "full_ndcg@10" in found]
    assert both == [2, 4, 6, 8]
    pooled = [seen[step]["dev_ndcg@10"] for step in both]
    full = [seen[step]["full_ndcg@10"] for step in both]
    # fewer documents cannot push a positive down
    assert all(one >= other for one, other in zip(pooled, full, strict=True))
    facts = facts_of(tmp_path)
    tau = kendall_tau(pooled, full)
    assert facts["pool"]["kendall_tau"] == tau
    assert facts["pool"]["checkpoints"] == 4
    assert facts["pool"]["documents"] < facts["pool"]["corpus"] == 120
    assert "Kendall's tau of pool and whole corpus is" in caplog.text
    history = [{"step": s, "eval_dev_ndcg@10": v["dev_ndcg@10"]} for s, v in seen.items()]
    assert facts["best_step"] == best_step(history)


def test_measuring_in_full_beside_the_pool_changes_no_weights(bench: Bench, tmp_path: Path) -> None:
    options: dict[str, Any] = {"learning_rate": 0.3, "warmup": 0.0, "steps": 5}
    plain = bench.train(tmp_path / "plain", early_stopping=POOLED, **options)
    twice = bench.train(tmp_path / "twice", early_stopping={**POOLED, "full_every": 1}, **options)
    assert same(plain, twice)
    pool = facts_of(tmp_path / "plain")["pool"]
    assert (pool["checkpoints"], pool["kendall_tau"]) == (0, None)


def test_the_value_is_that_of_the_pool_and_the_pool_is_in_the_key(bench: Bench) -> None:
    config = bench.config(early_stopping=POOLED)
    section, model = config.train.early_stopping, load_model(config.encoder)
    dev, pool = DevEvaluator(config, section), np.arange(0, 120, 2)
    keys, values = [dev.key], [dev(model)["dev_ndcg@10"]]
    for rows in (pool, np.arange(120)):
        dev.within(rows)
        keys.append(dev.key)
        values.append(dev(model)["dev_ndcg@10"])
    assert len(set(keys)) == 3
    assert values[0] == values[2] != values[1]


def test_values_of_generations_count_too() -> None:
    history = [
        {"step": 1, "eval_dev_ndcg@10": 0.5, "eval_full_ndcg@10": 0.4},
        {"step": 2, "eval_dev_ndcg@10": 0.6},
        {"step": 3, "eval_dev_ndcg@10": 0.7},
        {"step": 4, "loss": 1.0},
    ]
    assert agreement(history, {}) == {"checkpoints": 1, "kendall_tau": None}
    assert agreement(history, {2: 0.3, 4: 0.9}) == {"checkpoints": 2, "kendall_tau": -1.0}
    # what was measured here outweighs what a generation says
    assert agreement(history, {1: 0.0, 2: 0.3})["kendall_tau"] == -1.0


def test_a_pool_of_everything_spares_nothing(bench: Bench) -> None:
    config = bench.config(early_stopping=POOLED)
    with pytest.raises(PyriteError, match=r"pool_depth=120, but the corpus has 120"):
        dev_pool(config, build_encoder(config), "dev", 120)


def test_a_whole_run_compares_its_pool_with_the_gate_of_its_generations(bench: Bench) -> None:
    sections: dict[str, Any] = {
        **bench.run.model_dump(mode="json"),
        "name": "gated",
        "retrieve": {"depth": 60},
        "filters": {"percent": None},
        "sampler": {"name": "topk", "n": 2},
        "train": {
            **{"steps": 7, "batch_size": 16, "learning_rate": 1e-2, "save_every": 5},
            "early_stopping": {**POOLED, "every": 2},
        },
        "refresh": {
            **{"mode": "sync", "every_steps": 2},
            "gate": {"split": "dev", "max_ndcg_drop": 1.0},
        },
    }
    config = parse_config(TrainConfig, sections)
    train(config)
    alone, gated = (facts_of(config.run_folder / "models" / s) for s in ("in_batch", "mined"))
    assert alone["pool"]["documents"] == gated["pool"]["documents"] < 120
    assert alone["pool"]["checkpoints"] == 0
    rows = RefreshLog(RefreshHome.of(config.run_folder).folder).rows()
    measured = {row["step"] for row in rows if row["kind"] == "dev"}
    assert measured == {2, 4}
    assert gated["pool"]["checkpoints"] == 2

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords, toy_dataset, write_dataset

from pyrite.core.config import parse_config
from pyrite.core.encoder import F32
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig
from pyrite.core.store import Manifest
from pyrite.eval import evaluate as module
from pyrite.eval import results
from pyrite.eval.config import EvalConfig
from pyrite.eval.evaluate import evaluate
from pyrite.eval.results import Evaluation
from pyrite.eval.search import evaluate_encoder

MEASURES = ("ndcg@10", "mrr@10", "recall@20")


def settings(folder: Path, data: Path, **changes: Any) -> EvalConfig:
    """An evaluation below `folder`; `changes` replace whole sections."""
    sections: dict[str, Any] = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "eval": {"measures": list(MEASURES)},
    }
    return parse_config(EvalConfig, {**sections, **changes})


def texts_of(data: Path, name: str) -> dict[str, str]:
    lines = (data / f"{name}.jsonl").read_text("utf-8").splitlines()
    return {r["_id"]: r["text"] for r in map(json.loads, lines)}


def positives_of(data: Path, split: str, min_grade: int = 1) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (data / "qrels" / f"{split}.tsv").read_text("utf-8").splitlines()[1:]:
        query, doc, grade = line.split("\t")
        if int(grade) >= min_grade:
            found.setdefault(query, set()).add(doc)
    return found


def score(left: F32, right: F32) -> float:
    products = zip(left.tolist(), right.tolist(), strict=True)
    return float(np.float32(math.fsum(a * b for a, b in products)))


def ranked(data: Path, query: str) -> list[str]:
    """All document ids for a query, by (score descending, id ascending), in plain Python."""
    encoder = BagOfWords()
    vector = encoder.encode_queries([texts_of(data, "queries")[query]])[0]
    documents = texts_of(data, "corpus").items()
    scores = {d: score(vector, encoder.encode_documents([t])[0]) for d, t in documents}
    return sorted(scores, key=lambda d: (-scores[d], d))


def binary_measures(order: list[str], positives: set[str]) -> dict[str, float]:
    ranks = [rank for rank, doc in enumerate(order, start=1) if doc in positives]
    ideal = math.fsum(1 / math.log2(r + 1) for r in range(1, min(len(positives), 10) + 1))
    return {
        "ndcg@10": math.fsum(1 / math.log2(r + 1) for r in ranks if r <= 10) / ideal,
        "mrr@10": 1 / ranks[0] if ranks[0] <= 10 else 0.0,
        "recall@20": sum(r <= 20 for r in ranks) / len(positives),
    }


def assert_follows_oracle(found: Evaluation, data: Path, split: str) -> None:
    positives = positives_of(data, split)
    assert found.query_ids == sorted(positives)
    wanted = [binary_measures(ranked(data, q), positives[q]) for q in found.query_ids]
    assert list(found.values) == list(MEASURES)
    for name in MEASURES:
        assert found.values[name].tolist() == pytest.approx([w[name] for w in wanted], abs=1e-9)
        mean = math.fsum(w[name] for w in wanted) / len(wanted)
        assert found.means()[name] == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_evaluation_is_that_of_an_exhaustive_ranking(
    toy: Path, tmp_path: Path, encoder: BagOfWords, split: str
) -> None:
    config = settings(tmp_path, toy, dataset={"path": str(toy), "eval_split": split})
    found = evaluate_encoder(config, encoder)
    assert_follows_oracle(found, toy, split)
    # otherwise agreement would say little
    assert 0.1 < found.means()["ndcg@10"] < 0.9


def test_the_order_of_the_query_file_and_the_blocks_change_nothing(
    toy: Path, tmp_path: Path, encoder: BagOfWords
) -> None:
    first = evaluate_encoder(settings(tmp_path / "a", toy), encoder)
    path = toy / "queries.jsonl"
    path.write_text("\n".join(path.read_text("utf-8").splitlines()[::-1]) + "\n", "utf-8")
    small = {"measures": list(MEASURES), "block_queries": 3}
    second = evaluate_encoder(settings(tmp_path / "b", toy, eval=small), encoder)
    assert second.query_ids == first.query_ids
    for name in MEASURES:
        assert second.values[name].tolist() == first.values[name].tolist()


def test_a_corpus_smaller_than_the_cutoff_is_ranked_to_its_end(
    tmp_path: Path, encoder: BagOfWords, caplog: pytest.LogCaptureFixture
) -> None:
    data = toy_dataset(tmp_path / "data", documents=14, queries=12)
    with caplog.at_level(logging.WARNING, logger="pyrite"):
        found = evaluate_encoder(settings(tmp_path, data), encoder)
    assert_follows_oracle(found, data, "test")
    assert found.means()["recall@20"] == 1.0
    assert "14 documents" in caplog.text


def test_queries_that_a_run_leaves_out_count_as_zero(toy: Path, tmp_path: Path) -> None:
    positives = positives_of(toy, "test")
    path = tmp_path / "half.run"
    answered = sorted(positives)[::2]
    lines = [f"{q} Q0 {d} 1 {1 / n} x" for q in answered for n, d in enumerate(positives[q], 1)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    section = {"measures": list(MEASURES), "source": {"kind": "run", "path": str(path)}}
    found = evaluate_encoder(settings(tmp_path, toy, eval=section), None)
    assert found.query_ids == sorted(positives)
    for name in MEASURES:
        assert found.values[name].tolist() == [float(q in answered) for q in found.query_ids]
        assert found.means()[name] == len(answered) / len(positives)


def test_a_query_without_positives_is_not_in_the_denominator(
    tmp_path: Path, encoder: BagOfWords
) -> None:
    corpus = {f"d{i}": f"w{i} w{i + 20}" for i in range(6)}
    queries = {"q0": "w1 w21", "q1": "w2 w22", "q2": "w3"}
    judged = [("q0", "d1", 2), ("q1", "d2", 1), ("q2", "d3", 0)]
    data = write_dataset(tmp_path / "data", corpus, queries, {"train": judged, "test": judged})
    found = evaluate_encoder(settings(tmp_path, data), encoder)
    assert found.query_ids == ["q0", "q1"]
    strict = settings(tmp_path, data, dataset={"path": str(data), "min_grade": 2})
    assert evaluate_encoder(strict, encoder).query_ids == ["q0"]
    impossible = settings(tmp_path, data, dataset={"path": str(data), "min_grade": 3})
    with pytest.raises(PyriteError, match="min_grade"):
        evaluate_encoder(impossible, encoder)


def test_results_are_written_with_a_manifest(
    toy: Path, tmp_path: Path, encoder: BagOfWords
) -> None:
    config = settings(tmp_path, toy, name="first")
    found = evaluate(config, encoder)
    folder = tmp_path / "runs" / "first" / "eval"
    result = json.loads((folder / "results.json").read_text("utf-8"))
    wanted = {
        "model": "minilm",
        "dataset": str(toy),
        "split": "test",
        "queries": len(positives_of(toy, "test")),
        "measures": found.means(),
    }
    assert {key: result[key] for key in wanted} == wanted
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)
    assert list(manifest.data["files"]) == ["per_query.parquet", "results.json", "run.parquet"]
    assert manifest.data["config"] == config.model_dump(mode="json")

    again = settings(tmp_path, toy, name="first", eval={"measures": ["map@5"]})
    evaluate(again, encoder)
    assert list(json.loads((folder / "results.json").read_text("utf-8"))["measures"]) == ["map@5"]
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)


def test_a_failed_evaluation_leaves_the_earlier_result(
    toy: Path, tmp_path: Path, encoder: BagOfWords
) -> None:
    evaluate(settings(tmp_path, toy), encoder)
    folder = tmp_path / "runs" / "run" / "eval"
    before = (folder / "results.json").read_bytes()
    with pytest.raises(PyriteError):
        evaluate(settings(tmp_path, toy, dataset={"path": str(toy), "eval_split": "dev"}), encoder)
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)
    assert (folder / "results.json").read_bytes() == before


def test_an_evaluation_killed_while_it_was_written_has_no_manifest(
    toy: Path, tmp_path: Path, encoder: BagOfWords
) -> None:
    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    evaluate(settings(tmp_path, toy), encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "write_json", die)
        with pytest.raises(KeyboardInterrupt):
            evaluate(settings(tmp_path, toy, eval={"measures": ["map@5"]}), encoder)
    assert Manifest.read(tmp_path / "runs" / "run" / "eval") is None


def test_the_configured_model_is_built_only_when_none_is_given(
    toy: Path, tmp_path: Path, encoder: BagOfWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[EncoderConfig] = []

    def build(config: EvalConfig) -> BagOfWords:
        built.append(config.encoder)
        return BagOfWords(salt="configured")

    monkeypatch.setattr(module, "build_encoder", build)
    given = evaluate(settings(tmp_path, toy), encoder)
    assert not built
    configured = evaluate(settings(tmp_path, toy))
    assert built == [EncoderConfig()]
    assert configured.means() != given.means()


@pytest.mark.slow
def test_minilm_on_scifact_reaches_its_known_ndcg(scifact: Path, tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        scifact,
        threads=0,
        dataset={"path": str(scifact)},
        encoder={"model": "minilm", "max_length": 256},
    )
    found = evaluate(config)
    assert len(found.query_ids) == 300
    assert 0.640 <= found.means()["ndcg@10"] <= 0.655

"""Encoders and retrievers of ours as models of mteb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset
from fakes import BagOfWords, toy_dataset
from mteb.mocks.mock_tasks import MockClassificationTask, MockSTSTask

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.eval import mteb_tasks
from pyrite.eval.as_run import as_run
from pyrite.eval.config import EvalConfig
from pyrite.eval.local_task import LocalTask, by_mteb
from pyrite.eval.mteb_model import TaskEncoder, TaskSearch
from pyrite.eval.mteb_tasks import find_tasks, identical_rules, run_tasks
from pyrite.eval.search import Searched, search_held_out

MEASURES = ("ndcg@10", "mrr@10", "recall@5", "map@3")


def config_of(folder: Path, **section: Any) -> EvalConfig:
    sections = {
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(folder / "toy")},
        "eval": {"measures": MEASURES, "block_queries": 3, **section},
    }
    return parse_config(EvalConfig, sections)


def local(found: Searched, **how: Any) -> LocalTask:
    judged, _ = as_run(found)
    inputs = found.inputs
    return LocalTask("a toy", "test", inputs.queries, inputs.corpus, judged, "1", (5,), **how)


def scores_of(model: TaskSearch, task: Any) -> dict[str, Any]:
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    scores: dict[str, Any] = result.task_results[0].scores["test"][0]
    return scores


@pytest.mark.parametrize("kind", ["dense", "bm25s"])
def test_searching_inside_mteb_gives_what_pyrite_measures(
    toy: Path, tmp_path: Path, encoder: BagOfWords, kind: str
) -> None:
    config = config_of(tmp_path, source={"kind": kind})
    used = encoder if kind == "dense" else None
    found = search_held_out(config, used)
    ours = found.evaluate(MEASURES, found.ids).means()
    model = TaskEncoder(config, "x", encoder) if used else TaskSearch(config, "x", None)
    theirs = scores_of(model, local(found))
    for measure, value in ours.items():
        name = measure.replace("@", "_at_")
        assert theirs[name] == pytest.approx(value, abs=1e-5), measure
    replayed = by_mteb(found, MEASURES, "x", "a toy", "test", tmp_path / "mteb")
    assert replayed == pytest.approx({m: theirs[m.replace("@", "_at_")] for m in MEASURES})


def test_the_corpus_is_encoded_into_the_cache_and_not_again(
    toy: Path, tmp_path: Path, encoder: BagOfWords
) -> None:
    config = config_of(tmp_path)
    task = local(search_held_out(config, encoder))
    before = encoder.encoded
    scores_of(TaskEncoder(config, "x", encoder), task)
    # the same texts were encoded for our own evaluation: they are copied
    assert encoder.encoded == before
    scores_of(TaskEncoder(config, "x", BagOfWords(salt="other")), task)
    assert encoder.encoded == before


def test_identical_ids_are_replaced_by_the_next_result(tmp_path: Path) -> None:
    config, encoder = config_of(tmp_path), BagOfWords()
    corpus = Dataset.from_dict({"id": ["a", "b", "c"], "title": ["", "t", ""], "text": ["x"] * 3})
    queries = Dataset.from_dict({"id": ["b", "z"], "text": ["t x", "x"]})
    metadata = type("metadata", (), {"name": "Same"})
    for drops, width in (({}, 2), ({"Same": True}, 2)):
        model = TaskEncoder(config, "x", encoder, None, drops)
        model.index(corpus, task_metadata=metadata)
        run = model.search(queries, task_metadata=metadata, top_k=2)
        assert [len(run[q]) for q in ("b", "z")] == [width, width]
        assert ("b" in run["b"]) is not bool(drops)


def test_given_documents_are_reranked_by_similarity(tmp_path: Path, encoder: BagOfWords) -> None:
    config = config_of(tmp_path)
    texts = [f"w{i} w{i + 1} w{i + 2}" for i in range(8)]
    corpus = Dataset.from_dict({"id": [f"d{i}" for i in range(8)], "text": texts})
    queries = Dataset.from_dict({"id": ["q"], "text": ["w3 w4"], "instruction": [None]})
    metadata = type("metadata", (), {"name": "Rerank"})
    model = TaskEncoder(config, "x", encoder)
    model.index(corpus, task_metadata=metadata)
    given = {"q": ["d6", "d3", "d0"]}
    run = model.search(queries, task_metadata=metadata, top_k=2, top_ranked=given)
    query = encoder.encode_queries(["w3 w4"])[0]
    scores = {d: float(query @ encoder.encode_documents([texts[int(d[1])]])[0]) for d in given["q"]}
    assert list(run["q"]) == sorted(scores, key=lambda d: -scores[d])[:2]
    words = TaskSearch(config_of(tmp_path, source={"kind": "bm25s"}), "x", None)
    words.index(corpus, task_metadata=metadata)
    with pytest.raises(PyriteError, match="Rerank has documents reranked"):
        words.search(queries, task_metadata=metadata, top_k=2, top_ranked=given)


def test_titles_and_instructions_are_joined_as_mteb_joins_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Listening(BagOfWords):
        def _encode(self, texts: Any) -> Any:
            seen.extend(texts)
            return super()._encode(texts)

    model = TaskEncoder(config_of(tmp_path), "x", Listening())
    metadata = type("metadata", (), {"name": "Told"})
    corpus = Dataset.from_dict({"id": ["a", "b"], "title": ["T", None], "text": [" x", "y "]})
    model.index(corpus, task_metadata=metadata)
    queries = Dataset.from_dict({"id": ["q", "r"], "text": ["u", "v"], "instruction": ["i", None]})
    model.search(queries, task_metadata=metadata, top_k=1)
    assert sorted(seen) == ["T  x", "u i", "v", "y"]
    talk = Dataset.from_dict({"id": ["q"], "text": [["u", "v"]]})
    with pytest.raises(PyriteError, match="Told asks with conversations"):
        model.search(talk, task_metadata=metadata, top_k=1)


@pytest.mark.parametrize("kind", [MockClassificationTask, MockSTSTask])
def test_other_tasks_are_encoded(tmp_path: Path, encoder: BagOfWords, kind: Any) -> None:
    task = kind()
    task.load_data()
    scores = scores_of(TaskEncoder(config_of(tmp_path), "x", encoder), task)
    assert np.isfinite(scores["main_score"])


def test_results_are_mteb_s_own_files_and_are_read_again(
    toy: Path, tmp_path: Path, encoder: BagOfWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path)
    found = search_held_out(config, encoder)
    ours = found.evaluate(MEASURES, found.ids).means()["ndcg@10"]
    task, model = local(found), TaskEncoder(config, "some/model", encoder)
    (score,) = run_tasks([("m", model)], [task], tmp_path / "mteb")
    assert (score.system, score.task, score.measure) == ("m", "a-toy", "ndcg_at_10")
    assert score.score == pytest.approx(ours, abs=1e-5)
    (path,) = (tmp_path / "mteb").rglob("a-toy.json")
    assert json.loads(path.read_text("utf-8"))["scores"]["test"][0]["main_score"] == score.score
    assert mteb.ResultCache(tmp_path / "mteb").load_task_result("a-toy", model.mteb_model_meta)
    monkeypatch.setattr(TaskEncoder, "search", None)
    assert list(run_tasks([("m", model)], [task], tmp_path / "mteb")) == [score]


def test_tasks_and_benchmarks_are_found_by_name_each_once() -> None:
    small = find_tasks(["SciFact", "NFCorpus", "SciFact"], [])
    assert [task.metadata.name for task in small] == ["SciFact", "NFCorpus"]
    names = [task.metadata.name for task in find_tasks(["ArguAna"], ["MTEB(eng, v2)"])]
    assert len(names) == len(set(names)) > 30
    with pytest.raises(PyriteError, match=r"eval\.mteb_tasks: .*'Scifct' .*'SciFact'"):
        find_tasks(["Scifct"], [])
    with pytest.raises(PyriteError, match=r"eval\.mteb_benchmarks: .*MTEB\(eng, v2\)"):
        find_tasks([], ["MTEB(eng,v2)"])


def test_rules_about_identical_ids_are_those_of_the_tasks() -> None:
    tasks = find_tasks(["ArguAna", "SciFact", "CQADupstackRetrieval"], [])
    rules = identical_rules(tasks)
    assert rules["ArguAna"] is True
    assert not any(rule for name, rule in rules.items() if name != "ArguAna")
    assert len(rules) == 14


def test_a_task_that_cannot_be_loaded_names_the_local_way(
    tmp_path: Path, encoder: BagOfWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable(LocalTask):
        def load_data(self, num_proc: int | None = None, **_: Any) -> None:
            raise ConnectionError("nobody\nthere")

    monkeypatch.setattr(mteb_tasks, "offline_if_unreachable", lambda: None)
    config = config_of(tmp_path)
    toy_dataset(tmp_path / "toy")
    found = search_held_out(config, encoder)
    judged, _ = as_run(found)
    task = Unreachable("far", "test", found.inputs.queries, found.inputs.corpus, judged, "1")
    with pytest.raises(PyriteError) as caught:
        list(run_tasks([("m", TaskEncoder(config, "x", encoder))], [task], tmp_path / "mteb"))
    assert "task far: mteb cannot load far from the hub (nobody there)" in str(caught.value)
    assert "--data FOLDER" in str(caught.value)

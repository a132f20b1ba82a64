"""Several systems on several datasets in one table."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_setup import in_process
from fakes import toy_dataset, write_dataset
from tiny_model import tiny_model

from pyrite.core.config import parse_config
from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.store import Manifest
from pyrite.eval.config import EvalConfig
from pyrite.eval.evaluate import evaluate
from pyrite.eval.evaluate_all import evaluate_all
from pyrite.eval.mteb_tasks import TaskScore
from pyrite.eval.results import data_digests, read_evaluation
from pyrite.eval.search import search_held_out
from pyrite.eval.systems import CQADUPSTACK, find_places, find_systems
from pyrite.eval.table import Results, Row


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all")
    toy_dataset(folder / "one")
    toy_dataset(folder / "two", seed=3)
    toy_dataset(folder / "forums" / "a", seed=5)
    toy_dataset(folder / "forums" / "b", seed=6, queries=20)
    tiny_model(folder / "tiny")
    return folder


@pytest.fixture
def at_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return tmp_path


def config_of(folder: Path, path: str = "one", **section: Any) -> EvalConfig:
    sections = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": path},
        "encoder": {"model": "tiny/model", "max_length": 32},
        "eval": {"measures": ["ndcg@10", "recall@100"], **section},
    }
    return parse_config(EvalConfig, sections)


def test_one_system_on_one_dataset_is_what_evaluate_writes(at_home: Path) -> None:
    config = config_of(at_home, source={"kind": "bm25s"})
    results = evaluate_all(config)
    folder = at_home / "runs" / "run" / "eval"
    once = read_evaluation(folder)
    assert results.rows[0].means == once.evaluation.means() == once.facts["measures"]
    again = evaluate(config)
    assert again.means() == results.rows[0].means
    assert read_evaluation(at_home / "runs" / "run").facts == once.facts


def test_every_system_is_measured_on_every_dataset(at_home: Path) -> None:
    models = [{"model": "tiny/model", "name": "tiny"}, "bm25s"]
    config = config_of(at_home, models=models, datasets=["one", {"path": "two", "split": "train"}])
    results = evaluate_all(config)
    found = [(row.dataset, row.split, row.system) for row in results.rows]
    pairs = (("one", "test"), ("two", "train"))
    assert found == [(d, s, m) for d, s in pairs for m in ("tiny", "bm25s")]
    alone = config_of(at_home, "two", source={"kind": "bm25s"}).model_copy(
        update={"name": "alone", "dataset": config.dataset.model_copy(update={"path": "two"})}
    )
    alone = alone.model_copy(
        update={"dataset": alone.dataset.model_copy(update={"eval_split": "train"})}
    )
    assert results.rows[3].means == evaluate(alone).means()
    home = at_home / "runs" / "run" / "eval"
    table = json.loads((home / "table.json").read_text("utf-8"))
    assert [row["means"] for row in table["rows"]] == [row.means for row in results.rows]
    manifest = Manifest.read(home)
    assert manifest is not None
    assert manifest.intact(home)
    for row in results.rows:
        one = read_evaluation(Path(row.folder or ""))
        assert one.evaluation.means() == row.means
        assert one.folder == home / row.dataset / row.system
        assert one.facts["split"] == row.split


def test_a_run_is_measured_as_the_system_that_wrote_it(at_home: Path) -> None:
    first = evaluate(config_of(at_home, source={"kind": "bm25s"}))
    run = str(at_home / "runs" / "run" / "eval" / "run.parquet")
    config = config_of(at_home, runs=[run], models=["bm25s"]).model_copy(update={"name": "b"})
    words, read = evaluate_all(config).rows
    assert (words.system, read.system) == ("bm25s", run)
    assert words.means == read.means == first.means()


def test_a_folder_of_datasets_is_their_unweighted_mean(at_home: Path) -> None:
    results = evaluate_all(config_of(at_home, "forums", source={"kind": "bm25s"}))
    a, b, mean = results.rows
    assert [row.dataset for row in results.rows] == ["forums/a", "forums/b", "forums"]
    assert a.queries != b.queries, "otherwise a weighted mean would be the same"
    for name in ("ndcg@10", "recall@100"):
        values = a.means[name], b.means[name]
        assert None not in values
        assert mean.means[name] == pytest.approx(np.mean(values), abs=1e-12)  # type: ignore[arg-type]
    assert (mean.split, mean.queries) == (None, a.queries + b.queries)
    assert read_evaluation(at_home / "runs/run/eval/forums/b/bm25s").evaluation.means() == b.means


def test_forums_that_are_missing_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cqadupstack"
    for name in sorted(CQADUPSTACK - {"tex", "unix"}):
        write_dataset(folder / name, {"d": "x"}, {"q": "y"}, {"test": [("q", "d", 1)]})
    config = config_of(tmp_path, str(folder))
    with caplog.at_level(logging.WARNING, logger="pyrite"):
        assert len(find_places(config)) == 10
    assert "2 of its twelve forums are not there (tex, unix): the mean is over 10" in caplog.text
    for name in ("tex", "unix"):
        shutil.copytree(folder / "gis", folder / name)
    caplog.clear()
    assert {place.group for place in find_places(config)} == {"cqadupstack"}
    assert not caplog.records


def test_queries_without_results_are_counted_in_every_report(
    at_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = at_home / "x.run"
    run.write_text("q0000 Q0 d0008 1 1.0 x\nnobody Q0 d0008 1 1.0 x\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="pyrite"):
        results = evaluate_all(config_of(at_home, runs=[str(run)]))
    assert results.rows[0].missing == 9
    assert "9 queries have no result" in caplog.text
    assert "1 lines of queries that are not there" in caplog.text
    assert read_evaluation(at_home / "runs" / "run").facts["n_missing"] == 9
    header, (cells,) = results.cells()
    assert dict(zip(header, cells, strict=True))["missing"] == "9"


def test_other_tools_stand_beside_ours(at_home: Path) -> None:
    results = evaluate_all(config_of(at_home, source={"kind": "bm25s"}, also=["mteb", "beir"]))
    assert [row.by for row in results.rows] == ["pyrite", "mteb", "beir"]
    ours = results.rows[0].means
    assert list(ours)[:2] == ["ndcg@10", "judged@10"]
    for row in results.rows[1:]:
        # the share of judged results is ours alone
        shared = {m: value for m, value in ours.items() if m != "judged@10"}
        assert row.means == pytest.approx(shared, abs=6e-6)
    assert list((at_home / "runs/run/eval/mteb").rglob("one.json"))


def test_a_package_that_is_missing_is_named_before_any_work(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"beir.*pyrite\[beir\]"):
        evaluate_all(config_of(at_home, also=["beir"]))
    with pytest.raises(MissingExtraError, match=r"tasks of mteb.*pyrite\[mteb\]"):
        evaluate_all(config_of(at_home, mteb_tasks=["SciFact"]))
    assert not (at_home / "runs" / "run" / "eval").exists()


def test_entries_of_models_change_the_encoder_alone(at_home: Path) -> None:
    entry = {"model": "a", "query_prompt": "q: ", "normalize": False}
    one, two = find_systems(config_of(at_home, models=[entry, "b"]))
    assert (one.config.encoder.query_prompt, one.config.encoder.normalize) == ("q: ", False)
    assert (two.config.encoder.query_prompt, two.config.encoder.normalize) == (None, True)
    assert (one.config.encoder.max_length, two.label) == (32, "b")


def test_labels_say_as_much_as_tells_datasets_apart(tmp_path: Path) -> None:
    for name in ("x/same", "y/same", "z"):
        data = [("q", "d", 1)]
        write_dataset(tmp_path / name, {"d": "x"}, {"q": "y"}, {"test": data, "dev": data})
    paths = [str(tmp_path / name) for name in ("x/same", "y/same", "z", "z")]
    datasets: list[Any] = [*paths[:3], {"path": paths[3], "split": "dev"}]
    places = find_places(config_of(tmp_path, datasets=datasets))
    assert [place.label for place in places] == [*paths[:2], "z-test", "z-dev"]
    assert len({place.folder for place in places}) == 4
    assert all(".." not in place.folder.parts for place in places)
    with pytest.raises(PyriteError, match="two datasets are called 'z-test'"):
        find_places(config_of(tmp_path, datasets=[paths[2], paths[2]]))


def test_digests_tell_other_data_from_the_same(tmp_path: Path) -> None:
    corpus, queries = {"d": "x", "e": "z"}, {"q": "y", "r": "w"}

    def digests(name: str, grade: int = 1, turned: bool = False) -> dict[str, str]:
        rows = [("q", "d", grade), ("r", "e", 1)][:: -1 if turned else 1]
        write_dataset(tmp_path / name, corpus, queries, {"test": rows})
        found = search_held_out(config_of(tmp_path, str(tmp_path / name), source=BM25), None)
        return data_digests(found.inputs, found.qrels)

    same = digests("a")
    assert digests("b", turned=True) == same
    other = digests("c", grade=2)
    assert {key for key in same if same[key] != other[key]} == {"qrels"}
    queries["q"] = "another"
    assert {key for key, value in digests("d").items() if same[key] != value} == {"queries"}


BM25 = {"kind": "bm25s"}


@pytest.mark.parametrize("name", ["results.json", "per_query.parquet", "run.parquet"])
def test_a_damaged_evaluation_is_refused(at_home: Path, name: str) -> None:
    evaluate(config_of(at_home, source=BM25))
    folder = at_home / "runs" / "run" / "eval"
    assert read_evaluation(folder).evaluation.query_ids == sorted(
        read_evaluation(folder).evaluation.query_ids
    )
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(PyriteError, match="run pyrite eval again"):
        read_evaluation(folder)
    with pytest.raises(PyriteError, match="no finished evaluation"):
        read_evaluation(at_home)


def test_names_are_data_in_every_table() -> None:
    row = Row("a|b\n[red]", "<b>x</b>\x1b[31m", "test", {"ndcg@10": 0.5, "map@1": None}, 3)
    tasks = [TaskScore("s", "T", "m", 0.25), TaskScore("s", "U", "m", None)]
    results = Results(("ndcg@10", "map@1"), [row], tasks)
    text = results.markdown()
    assert "<b>" not in text
    assert "\x1b" not in text
    assert "0.5000 | - | 3 |" in text
    lines = text.splitlines()
    assert [line.count("|") for line in lines] == [6, 6, 6, 0, 4, 4, 4, 4, 4]
    assert lines[-1] == "| mean of the tasks |  | - |"
    assert len(results.rich()) == 2
    assert json.loads(json.dumps(results.as_json()))["mteb"][1]["score"] is None


def test_the_command_takes_models_and_datasets(
    at_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--model", "bm25s", "--data", "one", "--data", "two", f"runs_dir={at_home}/runs"]
    outcome = in_process(monkeypatch, capfd, "eval", *given, f"cache_dir={at_home}/c", "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["rows"]
    assert [row["dataset"] for row in rows] == ["one", "two"]
    outcome = in_process(monkeypatch, capfd, "eval", *given, f"cache_dir={at_home}/c")
    assert f"{rows[1]['means']['ndcg@10']:.4f}" in outcome.out


@pytest.mark.parametrize(
    ("given", "tasks"),
    [
        (["--mteb", "A", "B", "seed=3", "--mteb", "C"], ("A", "C", "B")),
        (["seed=3", "--mteb", "A"], ("A",)),
        (["seed=3"], ()),
    ],
)
def test_tasks_are_listed_after_their_option(
    given: list[str],
    tasks: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    seen: list[EvalConfig] = []

    def listen(config: EvalConfig) -> Results:
        seen.append(config)
        return Results(("ndcg@10",), [])

    monkeypatch.setattr("pyrite.eval.evaluate_all.evaluate_all", listen)
    assert in_process(monkeypatch, capfd, "eval", *given).code == 0
    assert (seen[0].eval.mteb_tasks, seen[0].seed) == (tasks, 3)

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from cli_setup import in_process
from compare_setup import MEASURES, evaluated
from fakes import write_dataset
from rich.console import Console

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.eval.compare import CompareOptions, compare_runs
from pyrite.eval.compare_report import print_report
from pyrite.eval.compare_tables import markdown
from pyrite.eval.config import EvalConfig
from pyrite.eval.evaluate_all import evaluate_all
from pyrite.eval.finished_runs import collect
from pyrite.eval.measures import F64
from pyrite.eval.paired_tests import randomisation_p
from pyrite.eval.results import read_evaluation
from pyrite.eval.significance import compare_all

DOCUMENTS, ASKED = 30, 24
CORPUS = {f"d{i:02d}": f"text {i}" for i in range(DOCUMENTS)}


def ranked(seed: int, hit: float, queries: int = ASKED) -> dict[str, list[str]]:
    """The relevant document first with probability `hit`, else fourth."""
    generator = np.random.default_rng(seed)
    out = {}
    for i in range(queries):
        others = [f"d{(i + k) % DOCUMENTS:02d}" for k in range(1, 4)]
        own = [f"d{i:02d}"]
        out[f"q{i:02d}"] = [*own, *others] if generator.uniform() < hit else [*others, *own]
    return out


def dataset(folder: Path, queries: int = ASKED) -> Path:
    asked = {f"q{i:02d}": f"{folder.name} asks {i}" for i in range(queries)}
    qrels = [(f"q{i:02d}", f"d{i:02d}", 1) for i in range(queries)]
    return write_dataset(folder, CORPUS, asked, {"test": qrels})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    data = dataset(folder / "data")
    for name, seed, hit in (("base", 1, 0.2), ("s0", 2, 0.9), ("s1", 3, 0.8), ("other", 4, 0.5)):
        evaluated(folder, data, name, ranked(seed, hit))
    # another dataset with fewer queries, and both systems on it
    small = dataset(folder / "small", 6)
    for name, seed, hit in (("small-base", 5, 0.1), ("small-s0", 6, 0.9), ("small-s1", 7, 0.9)):
        evaluated(folder, small, name, ranked(seed, hit, 6))
    return folder


def run(home: Path, *names: str) -> str:
    return ",".join(str(home / "runs" / name) for name in names)


def values_of(home: Path, name: str, measure: str = "ndcg@10") -> F64:
    return read_evaluation(home / "runs" / name).evaluation.values[measure]


def test_systems_bear_the_names_of_their_folders(home: Path) -> None:
    found = compare_runs([run(home, "base"), f"tuned={run(home, 's0')}", run(home, "other/eval")])
    assert list(found.systems.values) == ["base", "tuned", "other"]
    assert [(c.a, c.b) for c in found.comparisons[::2]] == [
        ("tuned", "base"),
        ("other", "base"),
        ("other", "tuned"),
    ]
    systems = {
        label: {m: values_of(home, name, m) for m in MEASURES}
        for label, name in (("base", "base"), ("tuned", "s0"), ("other", "other"))
    }
    wanted = compare_all(systems)
    assert [c.as_json() for c in found.comparisons] == [c.as_json() for c in wanted]
    assert found.means("tuned")["ndcg@10"] == pytest.approx(values_of(home, "s0").mean())


def test_differences_from_one_system_alone(home: Path) -> None:
    folders = [run(home, name) for name in ("base", "s0", "other")]
    found = compare_runs(folders, CompareOptions(against="other"))
    assert {(c.a, c.b) for c in found.comparisons} == {("base", "other"), ("s0", "other")}
    with pytest.raises(PyriteError, match="--against=nobody: no such system; one of base, s0"):
        compare_runs(folders, CompareOptions(against="nobody"))


def test_runs_with_commas_between_are_seeds(home: Path) -> None:
    found = compare_runs([run(home, "base"), f"tuned={run(home, 's0', 's1')}"])
    assert (found.seeds("base"), found.seeds("tuned")) == (1, 2)
    means = [values_of(home, name).mean() for name in ("s0", "s1")]
    assert found.means("tuned")["ndcg@10"] == pytest.approx(np.mean(means))
    assert found.spreads("tuned")["ndcg@10"] == pytest.approx(np.std(means, ddof=1))
    assert found.spreads("base")["ndcg@10"] is None
    one = found.comparisons[0]
    mean = (values_of(home, "s0") + values_of(home, "s1")) / 2
    assert one.p == pytest.approx(randomisation_p(mean - values_of(home, "base")))
    assert one.ci95_seeds is not None
    assert found.as_json()["systems"]["tuned"]["seeds"] == 2


def test_runs_on_several_datasets_are_averaged_dataset_by_dataset(home: Path) -> None:
    found = compare_runs(
        [f"base={run(home, 'small-base', 'base')}", f"tuned={run(home, 's0', 'small-s0')}"]
    )
    # in the order of the first system, whatever the other's
    assert found.systems.query_ids[:6] == [f"q{i:02d}" for i in range(6)]
    wanted = (values_of(home, "s0").mean() + values_of(home, "small-s0").mean()) / 2
    assert found.means("tuned")["ndcg@10"] == pytest.approx(wanted)
    before = (values_of(home, "base").mean() + values_of(home, "small-base").mean()) / 2
    one = found.comparisons[0]
    assert one.difference == pytest.approx(wanted - before)
    assert one.queries == 30
    assert one.ci95[0] < one.difference < one.ci95[1]
    assert len(found.as_json()["datasets"]) == 2
    by = found.slicings[0]
    assert (by.by, [part.queries for part in by.slices]) == ("dataset", [24, 6])
    assert by.slices[1].means["tuned"] == pytest.approx(values_of(home, "small-s0").mean())
    assert "mean of 2 datasets: 30 queries" in markdown(found).replace("&#58;", ":")


def test_seeds_and_datasets_together(home: Path) -> None:
    found = compare_runs(
        [
            f"base={run(home, 'base', 'small-base')}",
            f"tuned={run(home, 's0', 'small-s0', 's1', 'small-s1')}",
        ]
    )
    assert found.seeds("tuned") == 2
    means = [
        (values_of(home, s).mean() + values_of(home, f"small-{s}").mean()) / 2 for s in ("s0", "s1")
    ]
    assert found.spreads("tuned")["ndcg@10"] == pytest.approx(np.std(means, ddof=1))
    for options in (CompareOptions(worst=1), CompareOptions(slices=["wh"])):
        with pytest.raises(PyriteError, match="is for runs on one dataset, and these are on 2"):
            compare_runs(
                [f"a={run(home, 'base', 'small-base')}", f"b={run(home, 's0', 'small-s0')}"],
                options,
            )
    uneven = f"tuned={run(home, 's0', 's1', 'small-s1')}"
    with pytest.raises(PyriteError, match="equally many seeds on every dataset, not 2 on"):
        compare_runs([f"base={run(home, 'base', 'small-base')}", uneven])


def test_runs_on_other_data_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match="cannot be compared: they differ in their quer"):
        compare_runs([run(home, "base"), run(home, "small-s0")])
    # the same queries with one judgement more
    data = dataset(tmp_path / "data")
    path = data / "qrels" / "test.tsv"
    path.write_text(path.read_text("utf-8") + "q00\td29\t1\n", encoding="utf-8")
    for file in ("queries.jsonl", "corpus.jsonl"):
        (data / file).write_bytes((home / "data" / file).read_bytes())
    judged = evaluated(tmp_path, data, "judged", ranked(2, 0.9))
    with pytest.raises(PyriteError, match=r"they differ in their qrels \("):
        compare_runs([run(home, "base"), str(judged)])
    with pytest.raises(PyriteError, match="they differ in their datasets"):
        compare_runs([f"a={run(home, 'base')}", f"b={run(home, 's0', 'small-s0')}"])


def test_runs_with_and_without_the_query_s_own_id_are_refused(home: Path) -> None:
    dropped = evaluated(home, home / "data", "dropped", ranked(2, 0.9), identical_ids="drop")
    with pytest.raises(PyriteError, match=r"evaluate both with the same eval\.identical_ids"):
        compare_runs([run(home, "base"), str(dropped)])


def test_what_is_no_finished_run_is_refused(home: Path, tmp_path: Path) -> None:
    for given, says in (
        ([str(tmp_path / "nowhere"), run(home, "s0")], "nowhere: no such folder"),
        ([str(tmp_path), run(home, "s0")], "no finished evaluation"),
        ([run(home, "s0")], "one system, and a comparison needs two"),
        ([run(home, "s0"), run(home, "s0")], "two systems are called 's0'"),
        ([f"a={run(home, 's0', 's0')}", run(home, "base")], "stands there twice"),
        ([f"={run(home, 's0')}", run(home, "base")], "no name before ="),
    ):
        with pytest.raises(PyriteError, match=says):
            compare_runs(given)
    with pytest.raises(PyriteError, match="--measure=map@3: not in these runs; one of ndcg@10"):
        compare_runs([run(home, "s0"), run(home, "base")], CompareOptions(measure="map@3"))


def test_measures_in_common_are_compared(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = home / "data"
    part = evaluated(home, data, "part", ranked(8, 0.5), ["mrr@10", "recall@5"])
    with caplog.at_level(logging.WARNING, "pyrite"):
        found = compare_runs([run(home, "base"), str(part)])
    assert [c.measure for c in found.comparisons] == ["mrr@10"]
    assert "left out: ndcg@10, judged@10, recall@5" in caplog.text
    none = evaluated(home, data, "none", ranked(8, 0.5), ["recall@5"])
    with pytest.raises(PyriteError, match="no measure is in all of these runs"):
        compare_runs([run(home, "base"), str(none)])


def test_other_queries_of_the_same_data_are_refused(home: Path) -> None:
    short = {q: documents for q, documents in ranked(9, 0.5).items() if q != "q03"}
    by_trec = evaluated(home, home / "data", "by-trec", short, convention="trec_eval")
    with pytest.raises(PyriteError, match="measured other queries of the same data"):
        compare_runs([run(home, "base"), str(by_trec)])
    twin = evaluated(home, home / "data", "twin", short, convention="trec_eval")
    found = compare_runs([str(by_trec), str(twin)], CompareOptions(worst=1, incomplete=True))
    assert len(found.systems.query_ids) == ASKED - 1
    # what is measured again from the rankings is over the same queries
    assert found.incomplete is not None
    assert found.incomplete.systems["twin"]["judged@10"] == pytest.approx(0.25)


def test_data_that_changed_since_are_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    folders = [
        str(evaluated(tmp_path, data, name, ranked(seed, 0.5)))
        for name, seed in (("one", 1), ("two", 2))
    ]
    path = data / "queries.jsonl"
    path.write_text(path.read_text("utf-8").replace("asks 3", "asks for 3"), encoding="utf-8")
    assert compare_runs(folders).comparisons
    with pytest.raises(PyriteError, match=r"changed since .* was written, and --worst needs them"):
        compare_runs(folders, CompareOptions(worst=1))


def test_damaged_results_are_refused(home: Path, tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    folder = evaluated(tmp_path, data, "hurt", ranked(1, 0.5))
    path = folder / "eval" / "per_query.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PyriteError, match="files were changed"):
        compare_runs([str(folder), run(home, "base")])


def test_the_report_marks_what_is_significant(home: Path) -> None:
    found = compare_runs(
        [run(home, "base"), f"tuned={run(home, 's0', 's1')}"],
        CompareOptions(slices=["length"], worst=2, stability=True, incomplete=True),
    )
    out = io.StringIO()
    print_report(found, Console(file=out, width=160))
    shown = out.getvalue()
    one = found.comparisons[0]
    assert one.significant
    for part in (
        f"{one.difference:+.4f}*",
        f"[{one.ci95[0]:+.4f}, {one.ci95[1]:+.4f}]",
        "95% with seeds",
        " ± ",
        "Judged@10",
        "Kendall's tau",
        "queries by length",
        "greatest losses of tuned against base",
        "first seeds",
    ):
        assert part in shown, part
    text = markdown(found)
    assert f"{one.difference:+.4f}&#42;" in text
    assert text.count("### ") == 6


def test_the_command_prints_tables_json_or_markdown(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["compare", run(home, "base"), run(home, "s0"), "--slices", "wh", "--worst", "1"]
    for more, says in (([], "differences"), (["--markdown"], "### differences")):
        done = in_process(monkeypatch, capfd, *given, *more)
        assert done.code == 0, done.err
        assert says in done.out
    done = in_process(monkeypatch, capfd, *given, "--json")
    whole = json.loads(done.out)
    assert whole == json.loads(
        json.dumps(
            compare_runs(
                [run(home, "base"), run(home, "s0")], CompareOptions(slices=["wh"], worst=1)
            ).as_json()
        )
    )
    assert list(whole) == ["datasets", "queries", "systems", "comparisons", "slices", "worst"]
    wrong = in_process(monkeypatch, capfd, "compare", run(home, "base"), str(home / "nowhere"))
    assert wrong.code == 2
    assert len(wrong.errors) == 1


def test_one_evaluation_of_several_systems_and_datasets_is_read_whole(
    home: Path, tmp_path: Path
) -> None:
    settings = {
        "name": "table",
        "runs_dir": str(tmp_path / "runs"),
        "cache_dir": str(home / "cache"),
        "threads": 1,
        "eval": {
            "measures": list(MEASURES),
            "runs": [str(home / f"{name}.trec") for name in ("base", "s0")],
            "datasets": [str(home / "data")],
        },
    }
    evaluate_all(parse_config(EvalConfig, settings))
    # moved together they are still one table
    (tmp_path / "runs").rename(tmp_path / "moved")
    found = compare_runs([str(tmp_path / "moved" / "table")], CompareOptions(worst=1))
    wanted = compare_runs([run(home, "base"), run(home, "s0")])
    assert list(found.systems.values) == [str(home / f"{name}.trec") for name in ("base", "s0")]
    assert [c.difference for c in found.comparisons] == [c.difference for c in wanted.comparisons]
    assert len(found.worst) == 1
    (tmp_path / "moved" / "table" / "eval" / "table.json").write_text("{}", encoding="utf-8")
    with pytest.raises(PyriteError, match="files were changed"):
        compare_runs([str(tmp_path / "moved" / "table")])


def test_folders_with_signs_in_their_names_are_found(tmp_path: Path) -> None:
    root = tmp_path / "a=b,c"
    root.mkdir()
    data = dataset(tmp_path / "asked")
    folders = [
        str(evaluated(root, data, name, ranked(seed, 0.5)))
        for name, seed in (("one", 1), ("two", 2))
    ]
    assert list(collect(folders).values) == ["one", "two"]

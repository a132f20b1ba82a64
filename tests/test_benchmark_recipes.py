"""The recipe benchmark: statistics, the peer's rows, the sub-corpus, and a run on very little."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords, toy_dataset

from pyrite import TrainConfig
from pyrite.core.beir import open_beir
from pyrite.core.run import prepare_mining

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LIMIT_S = 300


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def row(table: Any, system: str, seed: int, values: list[float], queries: str = "q") -> Any:
    return table.Row("key", system, seed, 2.0, {}, {"set": values}, {"set": queries})


def test_a_recipe_is_laid_over_another_without_changing_it(bench: Any) -> None:
    recipes = bench("recipe_list")
    below = {"a": {"b": 1, "c": 2}, "d": 3}
    assert recipes.merged(below, {"a": {"c": 4}}, {"d": 5}) == {"a": {"b": 1, "c": 4}, "d": 5}
    assert below == {"a": {"b": 1, "c": 2}, "d": 3}


def test_every_recipe_is_a_configuration(bench: Any) -> None:
    recipes = bench("recipe_list")
    common = {"sampler": {"n": 2}, "train": {"steps": 2, "negatives": 2}}
    for overrides in recipes.RECIPES.values():
        TrainConfig.model_validate(recipes.merged(common, overrides))
    assert set(recipes.RECIPES) >= recipes.WITHOUT_NEGATIVES


def test_seeds_are_averaged_query_by_query(bench: Any) -> None:
    table = bench("recipe_table")
    values = {
        "base": [[0.1, 0.2, 0.3]],
        "in_batch": [[0.2, 0.4, 0.3], [0.4, 0.2, 0.5]],
        "simans": [[0.5, 0.6, 0.7], [0.7, 0.8, 0.5]],
    }
    rows = [row(table, s, seed, v) for s, runs in values.items() for seed, v in enumerate(runs)]
    entries = {entry["system"]: entry for entry in table.summary(rows, "set")}
    for system, runs in values.items():
        for other in ("in_batch", "base"):
            if other == system:
                assert f"minus_{other}" not in entries[system]
                continue
            differences = []
            for query in range(3):
                own = sum(run[query] for run in runs) / len(runs)
                theirs = sum(run[query] for run in values[other]) / len(values[other])
                differences.append(own - theirs)
            found = entries[system][f"minus_{other}"]
            assert found["difference"] == pytest.approx(sum(differences) / 3)
            # the mean of three draws lies between the least and the greatest difference
            assert min(differences) - 1e-12 <= found["ci95"][0] <= found["ci95"][1]
            assert found["ci95"][1] <= max(differences) + 1e-12
    assert entries["base"]["sd_over_seeds"] is None
    # seeds' means .6 and 2 / 3: the deviation of two numbers is their distance / sqrt(2)
    assert entries["simans"]["sd_over_seeds"] == pytest.approx((2 / 3 - 0.6) / 2**0.5)


def test_rows_of_other_queries_are_refused(bench: Any) -> None:
    table = bench("recipe_table")
    rows = [row(table, "base", 0, [0.1, 0.2]), row(table, "in_batch", 0, [0.1, 0.2], "other")]
    with pytest.raises(ValueError, match="delete the state folder"):
        table.summary(rows, "set")


def test_the_verdict_wants_an_interval_inside_and_a_small_loss_outside(bench: Any) -> None:
    table = bench("recipe_table")

    def entry(system: str, low: float, loss: float) -> dict[str, Any]:
        interval = {"difference": low + 0.1, "ci95": [low, low + 0.2]}
        outside = {"difference": -loss, "ci95": [-1.0, 1.0]}
        return {"system": system, "minus_in_batch": interval, "minus_base": outside}

    entries = [
        {"system": "base"},
        {"system": "in_batch", "minus_base": {"difference": -0.05, "ci95": [-0.1, 0.0]}},
        entry("good", 0.01, 0.01),
        entry("forgets", 0.01, 0.0101),
        entry("no_better", -0.01, 0.0),
    ]
    lines = table.verdict(entries, entries).splitlines()
    assert lines[0].endswith(": good, forgets")
    assert lines[1].endswith(": good, no_better")
    assert lines[2] == "both: good"


def test_rows_of_the_peer_obey_its_margin(bench: Any, toy: Path, tmp_path: Path) -> None:
    config = TrainConfig.model_validate(
        {
            "runs_dir": str(tmp_path / "runs"),
            "cache_dir": str(tmp_path / "cache"),
            "dataset": {"path": str(toy)},
            "retrieve": {"depth": 100},
            "sampler": {"n": 3},
        }
    )
    encoder = BagOfWords()
    prepared = prepare_mining(config, encoder)
    found = bench("st_rows").triplets(prepared, 3, 200)
    dataset = prepared.dataset
    # equal texts are one document to the peer
    texts = list(dict.fromkeys(dataset.corpus.texts(np.arange(len(dataset.corpus)))))
    vectors = dict(zip(texts, encoder.encode_documents(texts), strict=True))
    for query in prepared.queries.rows:
        (text,) = dataset.queries.texts(np.array([query]))
        asked = encoder.encode_queries([text])[0]
        known = dataset.corpus.texts(prepared.qrels.positives(int(query)))
        least = min(float(asked @ vectors[positive]) for positive in known)
        ceiling = least - 0.05 * abs(least)
        scores = {t: float(asked @ vectors[t]) for t in texts if t not in known}
        best = sorted((s for s in scores.values() if s <= ceiling), reverse=True)[:3]
        assert [scores[t] for t in found[text]] == pytest.approx(best, abs=1e-5)
    mined = bench("st_rows").mine_by_st(config, encoder)
    again = bench("st_rows").mine_by_st(config, encoder)
    assert mined.manifest.data["key"] == again.manifest.data["key"]


def test_a_sub_corpus_holds_what_is_judged_and_what_bm25_likes(
    bench: Any, toy: Path, tmp_path: Path
) -> None:
    whole = open_beir(toy, tmp_path / "cache")
    folder = bench("sub_corpus").sub_corpus(toy, tmp_path, 3, 4, tmp_path / "cache")
    part = open_beir(folder, tmp_path / "cache")
    lines = [line.split("\t") for line in (toy / "qrels/test.tsv").read_text().splitlines()[1:]]
    first = sorted({line[0] for line in lines})[:4]
    assert sorted(part.queries.id_strings(np.arange(len(part.queries)))) == first
    kept = set(part.corpus.id_strings(np.arange(len(part.corpus))))
    judged = {line[1] for line in lines if line[0] in first}
    assert judged < kept
    assert len(kept) <= len(judged) + 3 * 4 < len(whole.corpus)
    written = [line.split("\t") for line in (folder / "qrels/test.tsv").read_text().splitlines()]
    assert sorted(written[1:]) == sorted(line for line in lines if line[0] in first)
    again = bench("sub_corpus").sub_corpus(toy, tmp_path, 3, 4, tmp_path / "cache")
    assert again == folder


@pytest.mark.slow
@pytest.mark.long
def test_a_smoke_run_writes_a_table_and_a_second_one_trains_nothing(tmp_path: Path) -> None:
    data, state = toy_dataset(tmp_path / "toy"), tmp_path / "state"
    options = ["--smoke", "--recipes", "st_mined,simans_half", "--threads", "1"]
    command = [sys.executable, str(BENCHMARKS / "recipes.py"), *options, "--state", str(state)]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [*command, "--beir", str(data)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    result = json.loads((state / "recipes.json").read_text())
    systems = ["base", "in_batch", "st_mined", "simans_half"]
    for test in ("stdlib", "toy"):
        assert [entry["system"] for entry in result["tables"][test]] == systems
        assert all(0 < entry["mean"] < 1 for entry in result["tables"][test])
    mined = {entry["system"]: entry["mined"] for entry in result["runs"]}
    assert mined["base"] == mined["in_batch"] == 0
    assert 0 < mined["st_mined"] <= 2 < mined["simans_half"] <= 8
    assert not list((state / "runs").glob("*-0"))

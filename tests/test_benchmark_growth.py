"""The benchmark of every stage: how growth is told, the page, and a run on very little."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LIMIT_S = 300
MIB = 2**20


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.parametrize(
    ("costs", "slope", "word"),
    [
        ([2.0, 4.0, 8.0], 1.0, "linear"),
        ([3.0, 12.0, 48.0], 2.0, "more than linear"),
        ([5.0, 5.0, 5.0], 0.0, "less than linear"),
        # seconds that do not grow, and a second for each thousand
        ([2.0, 3.0, 5.0], 0.661, "less than linear"),
    ],
)
def test_growth_is_the_slope_of_the_logarithms(
    bench: Any, costs: list[float], slope: float, word: str
) -> None:
    stage = bench("stage")
    found = stage.exponent((1000, 2000, 4000), costs)
    assert found == pytest.approx(slope, abs=1e-3)
    assert stage.growth(found) == word


def test_growth_is_linear_within_a_tenth(bench: Any) -> None:
    growth = bench("stage").growth
    assert [growth(s) for s in (0.89, 0.9, 1.1, 1.11)] == [
        "less than linear",
        "linear",
        "linear",
        "more than linear",
    ]


@pytest.mark.parametrize(
    ("mebibytes", "slope", "word"),
    [
        ([0, 5, 15], None, "under 16 MiB"),
        ([100, 110, 120], None, "does not grow"),
        ([20, 40, 80], 1.0, "linear"),
        ([20, 80, 320], 2.0, "more than linear"),
        ([0, 0, 40], 2.661, "more than linear"),
    ],
)
def test_memory_that_hardly_grows_has_no_slope(
    bench: Any, mebibytes: list[int], slope: float | None, word: str
) -> None:
    found, said = bench("stage").memory_growth((1, 2, 4), [count * MIB for count in mebibytes])
    assert said == word
    assert found == (None if slope is None else pytest.approx(slope, abs=1e-3))


def test_every_stage_has_three_growing_sizes_and_us_first(bench: Any) -> None:
    stages = bench("stages")
    modules = {p.stem for p in (BENCHMARKS / "stages").glob("*.py")}
    assert set(stages.NAMES) == modules - {"__init__", "texts", "rows"}
    for name in stages.NAMES:
        stage = stages.stage_of(name)
        for sizes in (stage.sizes, stage.quick):
            assert len(sizes) == 3
            assert list(sizes) == sorted(set(sizes))
        ours, *others = stage.contestants
        assert ours.startswith("pyrite")
        assert others
        assert stage.floors <= set(others)


def one(name: str, seconds: list[float], mebibytes: list[int], floor: bool = False) -> Any:
    stage = importlib.import_module("stage")
    readings = importlib.import_module("common").Reading
    made = stage.Stage("", "", "", (1, 2, 4), (), print, {}, frozenset({name} if floor else ()))
    pairs = [readings(s, m * MIB) for s, m in zip(seconds, mebibytes, strict=True)]
    return importlib.import_module("growth").grown(made, name, (1, 2, 4), pairs)


@pytest.fixture
def result(bench: Any) -> dict[str, Any]:
    bench("growth")
    stage = {
        "title": "search something",
        "counts": "documents",
        "fixed": "two threads",
        "sizes": [1, 2, 4000],
        "rounds": 1,
        "contestants": [
            one("pyrite", [1.0, 4.0, 16.0], [20, 80, 320]),
            one("a peer", [2.0, 4.0, 8.0], [0, 0, 0]),
            one("a loop", [1.0, 2.0, 4.0], [0, 0, 0], floor=True),
        ],
    }
    return {
        "hardware": "a CPU, 2 cores",
        "date": "2026-01-02",
        "versions": {"x": "1"},
        "stages": [stage],
    }


def test_the_page_has_ratios_and_says_where_growth_is_not_linear(
    bench: Any, result: dict[str, Any]
) -> None:
    page = bench("bench_page").markdown(result)
    assert "a CPU, 2 cores, 2026-01-02. x 1." in page
    assert (
        "| search something | 4,000 documents | 16.00 | a peer | 8.00 | 0.50 | 320 | 0 | 2.00 |"
        in page
    )
    assert "|  |  | 16.00 | a loop (floor) | 4.00 | 0.25 | 320 | 0 |  |" in page
    assert "- search something, pyrite: time, more than linear (2.00)" in page
    assert "- search something, pyrite: memory, more than linear (2.00)" in page
    assert "a peer: time" not in page
    result["stages"][0]["contestants"][0] = one("pyrite", [1.0, 2.0, 4.0], [0, 1, 2])
    assert "Nothing: time and memory of ours" in bench("bench_page").markdown(result)


def test_the_plot_has_a_panel_for_each_stage(
    bench: Any, result: dict[str, Any], tmp_path: Path
) -> None:
    bench("bench_page").draw(result["stages"] * 4, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_run_goes_on_and_a_smoke_run_leaves_the_results_alone(tmp_path: Path) -> None:
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (BENCHMARKS / "results").iterdir())
    command = [sys.executable, str(BENCHMARKS / "all.py"), "--quick", "--state", str(tmp_path)]
    command += ["--stages", "audit"]
    first, second = (
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S)
        for _ in range(2)
    )
    assert "audit: done" in first.stdout
    assert "audit: done" not in second.stdout
    found = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in found["stages"]] == ["audit"]
    for stage in found["stages"]:
        for contestant in stage["contestants"]:
            assert min(contestant["seconds"]) > 0
            assert len(contestant["seconds"]) == 3
    assert (tmp_path / "bench.md").is_file()
    assert (tmp_path / "bench.png").is_file()
    after = sorted((p.name, p.stat().st_mtime_ns) for p in (BENCHMARKS / "results").iterdir())
    assert after == before


def test_fewer_bits_are_compared_with_the_reference(bench: Any) -> None:
    from pyrite.core.tables import Qrels

    module = bench("int8")
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((300, 8))
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    queries = documents[[5, 9]]
    reference = {
        "documents": documents,
        "queries": queries,
        "tokens": 600,
        "seconds": 6.0,
        "extra_bytes": 0,
    }
    ones = np.ones(2, dtype=np.int64)
    qrels = Qrels.build(np.arange(2), np.array([5, 9]), ones, 2)
    same = module.compared("same", {**reference, "seconds": 2.0}, reference, qrels)
    assert (same["speed"], same["tokens_per_second"], same["difference"]) == (3.0, 300.0, 0.0)
    assert (same["ndcg@10"], same["overlap@100"], same["cosine"]) == (1.0, 1.0, 1.0)
    turned = {**reference, "documents": documents[::-1]}
    other = module.compared("turned", turned, reference, qrels)
    ids = [set(np.argsort(-(q @ d.T))[:100]) for d in (documents, documents[::-1]) for q in queries]
    overlap = (len(ids[0] & ids[2]) + len(ids[1] & ids[3])) / 200
    assert other["overlap@100"] == pytest.approx(overlap)
    assert other["difference"] < 0
    assert other["cosine"] == pytest.approx(
        (documents[::-1] * documents).sum(axis=1).mean(), abs=1e-5
    )

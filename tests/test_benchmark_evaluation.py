"""The evaluation benchmark: its part of a folder, reference points, a run on very little."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import toy_dataset

from pyrite.core.beir import open_beir

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LIMIT_S = 900


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def positives(folder: Path) -> list[list[str]]:
    lines = (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]
    return sorted(line.split("\t") for line in lines)


@pytest.mark.parametrize(("documents", "queries"), [(5, 0), (0, 3), (1, 2)])
def test_a_part_holds_the_first_documents_and_what_is_judged(
    bench: Any, toy: Path, tmp_path: Path, documents: int, queries: int
) -> None:
    whole = open_beir(toy, tmp_path / "cache")
    part = tmp_path / "part"
    sizes = bench("part_corpus").write_part(whole, part, documents, queries)
    judged = positives(toy)
    first = sorted({query for query, _, _ in judged})[: queries or None]
    judged = [line for line in judged if line[0] in first]
    assert positives(part) == judged
    ids = whole.corpus.id_strings(np.arange(len(whole.corpus)))
    wanted = set(ids[: documents or len(ids)]) | {doc for _, doc, _ in judged}
    found = open_beir(part, tmp_path / "cache")
    kept = found.corpus.id_strings(np.arange(len(found.corpus)))
    assert kept == [one for one in ids if one in wanted]
    texts = dict(zip(ids, whole.corpus.texts(np.arange(len(ids))), strict=True))
    assert found.corpus.texts(np.arange(len(kept))) == [texts[one] for one in kept]
    assert sorted(found.queries.id_strings(np.arange(len(found.queries)))) == first
    assert sizes == (len(wanted), len(first))


def test_inside_of_what_is_published_there_is_no_difference(bench: Any) -> None:
    difference = bench("reference_points").difference
    assert difference(0.647, 0.645, 0.649) == 0
    assert difference(0.640, 0.645, 0.649) == pytest.approx(-0.005)
    assert difference(0.681, 0.679, 0.679) == pytest.approx(0.002)


def test_tools_that_differ_are_named(bench: Any) -> None:
    disagreement = bench("evaluation").disagreement
    assert not disagreement({"ours": 0.5, "mteb": 0.5009, "beir": 0.5004})
    complaint = disagreement({"ours": 0.5, "mteb": 0.5011, "beir": 0.5004})
    assert "mteb 0.50110" in complaint
    assert "beir 0.50040" in complaint


def test_seconds_are_counted_inside_the_call_only(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bench("evaluation")
    now = iter([1.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(now))
    clock = module.Clock()
    double = clock.around(lambda x, *, plus: 2 * x + plus)
    assert [double(1, plus=0), double(2, plus=1)] == [2, 5]
    assert clock.seconds == 2.5


@pytest.mark.slow
@pytest.mark.long
def test_a_smoke_run_compares_three_tools_that_agree(tmp_path: Path) -> None:
    data, results = toy_dataset(tmp_path / "toy"), tmp_path / "results"
    command = [sys.executable, str(BENCHMARKS / "evaluation.py"), "--smoke"]
    for options in (["--reference"], []):
        done = subprocess.run(
            [*command, "--data", str(data), "--results", str(results), *options],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found = json.loads((results / "evaluation.json").read_text())
        assert found["agree"]
        assert "differ by more" not in done.stdout
        if options:
            first = found["reference"]
    assert found["reference"] == first
    systems = [row["system"] for row in first["rows"]]
    assert {*systems, *first["not_measured"]} == {"bm25s", "lucene", "minilm"}
    assert all(0 < row["ndcg@10"] < 1 for row in first["rows"])
    assert [row["name"] for row in found["rows"]] == ["evaluate: mteb", "evaluate: beir"]
    for name, part in found["parts"].items():
        assert min(part["read"], part["encode"], part["search"]) > 0, name
        known = part["read"] + part["encode"] + part["search"]
        assert part["seconds"] == pytest.approx(known, abs=1e-4)

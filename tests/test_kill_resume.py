"""A killed run and the run after it leave the bytes of one that was left in peace."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_setup import SCRIPT, in_subprocess, plain_environment, write_setup
from killer import CHAIN_RENAMES, SCENARIOS, half_artefacts, lasting

pytestmark = pytest.mark.slow
RECIPE = Path(__file__).resolve().parents[1] / "configs" / "stdlib.yaml"
LIMIT_S = 240

SAMPLING = {
    *("negatives.parquet", "reasons.npy", "scores.png", "config.yaml", "README.md"),
    "manifest.json",
}
CANDIDATES = {"ids.npy", "scores.npy", "query_rows.npy"}
VECTORS = {"emb-00000.npy", "emb-00001.npy"}
PUBLISHED = {
    "mine": SAMPLING | CANDIDATES | VECTORS | {"texts.arrow", "hashes.npy"},
    "mine over another run": SAMPLING,
    "mine over damage": CANDIDATES | VECTORS | {"manifest.json"},
    "embedded dataset": {
        *("corpus.jsonl", "queries.jsonl", "train.tsv", "dev.tsv", "test.tsv", "manifest.json")
    },
}
# texts, text hashes and vectors of both tables, candidates, negatives
MANIFESTS_OF_MINE = 8


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The report of a scenario's kills, made once."""

    @functools.cache
    def report(scenario: str) -> dict[str, Any]:
        killer = Path(__file__).with_name("killer.py")
        folder = tmp_path_factory.mktemp("experiment") / "here"
        outcome = in_subprocess([sys.executable, killer, scenario, folder])
        assert outcome.code == 0, outcome.err[-2000:]
        found: dict[str, Any] = json.loads(outcome.out)
        return found

    return report


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_moment_is_made_good_by_the_next_run(
    scenario: str, experiment: Callable[[str], dict[str, Any]]
) -> None:
    report = experiment(scenario)
    assert report["faults"] == []
    # the kills fell into every stage, and into its blocks
    published = [name.split()[1] for name in report["moments"] if name.startswith("publish")]
    assert set(published) >= PUBLISHED[scenario]
    if scenario == "mine":
        assert published.count("manifest.json") == MANIFESTS_OF_MINE
    if scenario.startswith("mine over"):
        assert "remove manifest.json" in report["moments"]
    if scenario.startswith("mine"):
        ends = {name.rpartition(".")[2] for name in published if name.startswith("part-")}
        assert {"npy", "sum"} <= ends
        assert ("parquet" in ends) == (scenario != "mine over damage")
    # killed again and again, the run still ends
    assert report["runs_of_chain"] > len(published) // CHAIN_RENAMES


@pytest.mark.parametrize("trace", ["part-", ".tmp-"])
def test_the_next_run_sweeps_up(trace: str, experiment: Callable[[str], dict[str, Any]]) -> None:
    assert [name for name in experiment("mine")["left_over"] if trace in name] == []


def killed_when(command: list[str | Path], folder: Path, due: Callable[[str], bool]) -> None:
    """Start a command in `folder` and kill it as soon as `due` says so of its standard error."""
    log = folder / "stderr.txt"
    with log.open("w", encoding="utf-8") as handle:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=plain_environment(),
            stdout=subprocess.DEVNULL,
            stderr=handle,
        )
        stop = time.monotonic() + LIMIT_S
        while not due(log.read_text("utf-8", errors="replace")):
            assert process.poll() is None, f"ended too early: {log.read_text('utf-8')[-2000:]}"
            assert time.monotonic() < stop, "the moment to kill never came"
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "ended before the kill"
    log.unlink()


def finished(command: list[str | Path], folder: Path) -> str:
    """Run a command in `folder` to its end; its standard error."""
    outcome = in_subprocess(command, cwd=folder)
    assert outcome.code == 0, outcome.err[-2000:]
    return outcome.err


def folders(parent: Path) -> tuple[Path, Path]:
    for name in ("peace", "killed"):
        (parent / name).mkdir()
    return parent / "peace", parent / "killed"


def test_a_real_mining_run_killed_while_it_encodes(tmp_path: Path) -> None:
    command: list[str | Path] = [
        *(SCRIPT, "mine", RECIPE, "dataset.max_documents=300", "retrieve.depth=50"),
        *("encoder.max_length=32", "threads=1"),
    ]
    peace, killed = folders(tmp_path)
    finished(command, peace)
    killed_when(command, killed, lambda log: "encode document texts" in log)
    assert len(list(killed.glob("runs/.cache/texts/*/manifest.json"))) == 2
    assert not list(killed.glob("runs/.cache/embeddings/*/manifest.json")), "killed too late"
    assert half_artefacts(killed) == []
    assert not (killed / "runs" / "stdlib").exists()
    finished(command, killed)
    found, expected = lasting(killed), lasting(peace)
    assert found.keys() == expected.keys()
    assert "runs/stdlib/negatives/negatives.parquet" in found
    assert [name for name in found if found[name] != expected[name]] == []


def _sealed(checkpoints: Path, _: str) -> bool:
    return any(checkpoints.glob("*/manifest.json"))


def test_a_real_training_run_killed_in_both_trainings(tmp_path: Path) -> None:
    config = write_setup(tmp_path, train={"steps": 30, "batch_size": 4, "save_every": 2})
    command: list[str | Path] = [SCRIPT, "train", config, "runs_dir=runs", "cache_dir=cache"]
    peace, killed = folders(tmp_path)
    finished(command, peace)
    run = killed / "runs" / "toy"
    for system in ("in_batch", "mined"):
        model = run / "models" / system
        checkpoints = model / "checkpoints"
        killed_when(command, killed, functools.partial(_sealed, checkpoints))
        assert not (model / "manifest.json").exists(), "killed too late"
        assert not (run / "results.json").exists()
    log = finished(command, killed)
    assert "training goes on at runs/toy/models/mined/checkpoints/checkpoint-" in log
    assert "runs/toy/models/in_batch: trained already" in log
    found, expected = lasting(run), lasting(peace / "runs" / "toy")
    for name in ("models/in_batch/model/model.safetensors", "models/mined/model/model.safetensors"):
        assert found[name] == expected[name]
    assert (
        found["models/mined/model/model.safetensors"]
        != (found["models/in_batch/model/model.safetensors"])
    )
    assert found["results.json"] == expected["results.json"]
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []

"""`--json` of every verb that works on a run: one object on standard output, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import made_cases
import pytest
import yaml
from cli_setup import in_process, write_setup

pytestmark = pytest.mark.slow

# in this order: each finds what those before it left
CALLS = (
    ("mine", "config.yaml"),
    ("suggest", "config.yaml"),
    ("truth", "config.yaml"),
    ("audit", "runs/toy"),
    ("convert", "runs/toy", "rows.jsonl", "--to", "tevatron"),
    ("make", "make.yaml"),
    ("relabel", "relabel.yaml"),
    ("eval", "config.yaml", "retriever=bm25s"),
    ("eval", "config.yaml", "retriever=bm25s", "name=again"),
    ("compare", "runs/toy", "runs/again"),
    ("report", "runs/toy"),
)


def test_standard_output_is_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_setup(tmp_path)
    made = made_cases.settings(tmp_path)
    judged = {name: made[name] for name in ("name", "runs_dir", "cache_dir")}
    judged |= {"data": {"path": "rows.jsonl"}, "stages": [made_cases.scripted("judge")]}
    for name, settings in (("make", made), ("relabel", judged)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    capfd.readouterr()
    for call in CALLS:
        outcome = in_process(monkeypatch, capfd, *call, "--json")
        assert (outcome.code, outcome.errors) in ((0, []), (1, [])), call
        assert isinstance(json.loads(outcome.out), dict), call
        assert "\n" not in outcome.out.strip(), call
        # a bar redraws its line
        assert "\r" not in outcome.err, call

"""What a shell and a script need of every verb: completion, and a result as JSON alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from cli_setup import SCRIPT, in_process, in_subprocess
from review_setup import finished_run, queue_of

from pyrite.cli import app
from pyrite.completion import complete

COMMAND = typer.main.get_command(app)
VERBS = sorted(COMMAND.commands)  # type: ignore[attr-defined]


def completed(*words: str) -> list[str]:
    """What bash would offer for the last of `words`."""
    environment = {
        "_PYRITE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    outcome = in_subprocess([SCRIPT], environment=environment)
    assert outcome.code == 0, outcome.err
    return outcome.out.split()


def test_a_verb_is_completed() -> None:
    assert completed("pyrite", "doc") == ["doctor"]


def test_keys_are_completed_behind_the_configuration() -> None:
    assert completed("pyrite", "mine", "a.yaml", "sampler.window_m") == [
        "sampler.window_min=",
        "sampler.window_max=",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell: str, tmp_path: Path) -> None:
    environment = {"_PYRITE_COMPLETE": f"source_{shell}", "HOME": str(tmp_path)}
    outcome = in_subprocess([SCRIPT], environment=environment)
    assert outcome.code == 0, outcome.err
    assert "_PYRITE_COMPLETE=complete_" in outcome.out


@pytest.mark.parametrize(
    ("verb", "begun", "key"),
    [
        ("train", "train.loss.tem", "train.loss.temperature="),
        ("plan", "refresh.every", "refresh.every_steps="),
        ("eval", "dataset.pa", "dataset.path="),
        ("relabel", "max_co", "max_cost="),
        ("review", "max_co", "max_cost="),
        ("make", "writer.chat.mod", "writer.chat.model="),
        ("nevir", "cross_encoder.mo", "cross_encoder.model="),
    ],
)
def test_each_verb_completes_its_own_keys(verb: str, begun: str, key: str) -> None:
    ((found, description),) = complete(verb, begun)
    assert found == key
    assert description


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_json(verb: str) -> None:
    options = {o for p in COMMAND.commands[verb].params for o in p.opts}  # type: ignore[attr-defined]
    assert "--json" in options


def test_every_verb_s_help_is_one_sentence_at_least() -> None:
    for verb in VERBS:
        text = COMMAND.commands[verb].help  # type: ignore[attr-defined]
        assert text
        assert text.rstrip().endswith(".")


def test_a_refresher_s_count_is_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pyrite.trainers.refresher.refresh", lambda *given: 3)
    outcome = in_process(monkeypatch, capfd, "refresh", str(tmp_path), "--json")
    assert json.loads(outcome.out) == {"run": str(tmp_path), "generations": 3}


def test_a_review_is_json_and_its_remarks_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = finished_run(tmp_path)
    pairs = queue_of(config).pairs
    call = ("review", str(tmp_path / "review.yaml"), "--reviewer", "ann", "--json")
    out = tmp_path / "out.html"
    wrote = in_process(monkeypatch, capfd, *call, "--write", str(out))
    assert json.loads(wrote.out) == {"wrote": str(out)}
    assert "3 pairs to review" in wrote.err
    answers = [
        {"pair": pair.key, "answer": answer, "reviewer": name}
        for pair, answer in zip(pairs, ("relevant", "unsure"), strict=False)
        for name in ("ann", "bob")
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")
    read = in_process(monkeypatch, capfd, *call, "--read", str(path))
    found = json.loads(read.out)
    assert found["answers"] == {"relevant": 2, "not_relevant": 0, "unsure": 2}
    assert {found["people"][0]["first"], found["people"][0]["second"]} == {"ann", "bob"}

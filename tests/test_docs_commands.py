"""Every command that README and docs show: parsed at once, run in the slow tests."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from chat_server import serving
from cli_setup import Outcome, in_process
from doc_commands import Command, commands, workplace
from doc_pages import ROOT
from made_cases import good as written
from quick import quick

from pyrite.cli import app
from pyrite.completion import kind_of
from pyrite.core.config import load_config

VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
EVERY = list(commands())
CALLS = [one for one in EVERY if one.text.startswith("pyrite ") and not one.synopsis]
SYNOPSES = [one for one in EVERY if one.synopsis]
CONFIGURED = ("mine", "plan", "train", "suggest", "truth", "relabel", "make", "review", "calibrate")
# what is only parsed, and why: beginning of the command -> reason
PARSED_ONLY = {
    "pyrite convert hf://": "fetches a dataset from the hub; test_convert_* have one at hand",
    "pyrite eval --model A --mteb": "fetches a benchmark; test_eval_mteb_model has a task at hand",
    "pyrite eval --model A --data FOLDER --also": "test_eval_agreement has a task at hand",
    'pyrite mine CONFIG "dataset.qrels=': "ids of a relabelled file; test_relabel_mined",
    "pyrite plan ": "measures the machine; test_trainers_plan_run",
    "pyrite refresh runs/RUN": "follows a training under way; test_trainers_refresh_async",
    "pyrite review configs/relabel.yaml": "waits for a person; test_relabel_review*",
    "pyrite compare runs/base runs/tuned --verdicts": "test_eval_incomplete",
    "pyrite relabel judges.yaml": "test_eval_incomplete",
}
# the tiny models have few positions
_SHORT = {
    "pyrite eval ": "encoder.max_length=32",
    "pyrite nevir pairs.jsonl": "cross_encoder.max_length=32",
}


def named(one: Command) -> str:
    return f"{one.page}: {one.text}"


def only_parsed(one: Command) -> bool:
    return any(one.text.startswith(start) for start in PARSED_ONLY)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nothing is run: what the pages name is there."""
    return workplace(tmp_path_factory.mktemp("pages"), "http://127.0.0.1:1/v1")


@pytest.mark.parametrize("one", CALLS, ids=named)
def test_a_call_is_parsed_and_its_configuration_is_valid(
    one: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    _, verb, *rest = one.words
    context = VERBS[verb].make_context(verb, list(rest))
    if verb in CONFIGURED:
        overrides = context.params["overrides"] or []
        load_config(kind_of(verb), context.params["config"], overrides)
    if verb == "eval":
        first = (context.params["arguments"] or ["a=b"])[0]
        assert "=" in first or Path(first).is_file(), f"{first} would be read as a configuration"


@pytest.mark.parametrize("one", SYNOPSES, ids=named)
def test_a_synopsis_names_verbs_and_options_that_are_there(one: Command) -> None:
    _, verbs, *rest = one.text.split(" ")
    wanted = set(re.findall(r"--[a-z-]+", " ".join(rest)))
    options = {
        o
        for verb in verbs.split("|")
        for p in VERBS[verb].params
        for o in (*p.opts, *p.secondary_opts)
    }
    assert wanted <= options


def test_the_lists_of_this_test_are_in_use() -> None:
    for start in PARSED_ONLY:
        assert any(one.text.startswith(start) for one in CALLS), start
    assert len(CALLS) > 40
    programs = {one.text.split(" ")[0] for one in EVERY}
    assert programs <= {"pyrite", "make", "pip", "python", "torchrun"}, "who tests these?"


@pytest.mark.parametrize(
    "one", [c for c in EVERY if c.text.startswith("make ") and not c.synopsis], ids=named
)
def test_make_has_the_targets(one: Command) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for call in one.text.split("&&"):
        program, target, *settings = call.split()
        assert program == "make"
        assert target in targets
        assert not settings or settings[0].startswith("SET=")


@pytest.mark.parametrize("one", [c for c in EVERY if c.text.startswith("pip ")], ids=named)
def test_pip_finds_constraints_and_extras(one: Command) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extra in re.findall(r"\[([\w,]+)\]", one.text):
        assert set(extra.split(",")) <= set(project["optional-dependencies"])
    for path in re.findall(r"-c (\S+)", one.text):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("one", [c for c in EVERY if c.text.startswith("python ")], ids=named)
def test_a_script_is_there_and_takes_these_options(one: Command) -> None:
    # examples run in test_examples, benchmarks in test_benchmark_recipes
    path = ROOT / one.text.split(" ")[1]
    source = path.read_text("utf-8")
    for option in re.findall(r"--[a-z-]+", one.text):
        assert f'"{option}"' in source


def prepare(folder: Path, run: Callable[..., Outcome]) -> None:
    """The runs that the pages take for granted."""
    for name, model in (
        ("base", "tiny"),
        *((name, "tiny-b") for name in ("tuned", "s0", "s1", "s2")),
    ):
        outcome = run("eval", "configs/stdlib.yaml", f"name={name}", f"encoder.model={model}/model")
        assert outcome.code == 0, outcome.err
    shutil.copytree(folder / "runs" / "base" / "eval", folder / "other" / "eval")
    for call in (("train", "configs/stdlib.yaml"), ("train", "configs/adore.yaml")):
        outcome = run(*call)
        assert outcome.code == 0, outcome.err
    assert run("mine", "mine.yaml").code == 0


def fresh(one: Command, folder: Path) -> None:
    """What a command writes and never overwrites goes, where an earlier page wrote it too."""
    words = one.words
    written_to = [words[at + 1] for at, word in enumerate(words) if word in _WRITE_TO]
    if words[1] == "convert":
        written_to.append(words[3])
    for word in written_to:
        path = folder / word
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


_WRITE_TO = ("--fix", "--unjudged", "--write")


@pytest.mark.slow
def test_every_call_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai", reason="the extra `openai` is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(monkeypatch, written) as server, quick():
        folder = workplace(tmp_path, server.url)
        monkeypatch.chdir(folder)

        def run(*words: str) -> Outcome:
            return in_process(monkeypatch, capfd, *words)

        prepare(folder, run)
        failed = []
        for one in CALLS:
            if only_parsed(one):
                continue
            fresh(one, folder)
            _, verb, *rest = one.words
            shorter = [given for start, given in _SHORT.items() if one.text.startswith(start)]
            outcome = run(verb, *rest, *shorter)
            # an audit that finds errors says so
            if outcome.code not in ((0, 1) if verb == "audit" else (0,)):
                failed.append(f"{named(one)}: {outcome.code} {outcome.err[-600:]}")
    assert not failed, "\n".join(failed)

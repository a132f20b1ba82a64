"""Every mistake a user can make: exit code 2, one sentence about it, nothing overwritten."""

from __future__ import annotations

import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from cli_setup import in_process, snapshot, write_config, write_setup
from mistake_case import Case
from mistakes import CASES, LINES
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pyrite import evaluate, load_config, train
from pyrite.trainers.loss_config import PARAMETERS
from pyrite.trainers.run_config import TrainConfig


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A setup with a finished run of every verb."""
    folder = tmp_path_factory.mktemp("errors")
    config = load_config(TrainConfig, write_setup(folder))
    train(config)
    evaluate(config)
    for name, path in (("corpus", "corpus.jsonl"), ("queries", "queries.jsonl")):
        assert len((folder / "data" / path).read_text("utf-8").splitlines()) == LINES[name]
    lines = (folder / "data" / "qrels" / "train.tsv").read_text("utf-8").splitlines()
    assert len(lines) == LINES["train"]
    return folder


@pytest.fixture
def folder(home: Path, tmp_path: Path) -> Path:
    """A copy of the setup whose runs and model are still those of `home`."""
    shutil.copytree(home / "data", tmp_path / "data")
    shutil.copytree(home / "cache", tmp_path / "cache")
    write_config(tmp_path, home)
    return tmp_path


def marks(case: Case) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(reason=case.broken, strict=True)] if case.broken else []


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name, marks=marks(case)) for name, case in CASES.items()]
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    case: Case,
    home: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if "encoder.device=cuda" in case.overrides:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    if case.spoil is not None:
        case.spoil(folder)
    before = snapshot(home / "runs")
    overrides = [override.replace("TMP", str(folder)) for override in case.overrides]
    config = str(folder / "config.yaml")
    outcome = in_process(monkeypatch, capfd, case.verb, config, *overrides)
    assert snapshot(home / "runs") == before
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert len(outcome.errors) == 1
    assert outcome.err.endswith(outcome.errors[0] + "\n")
    for part in case.says:
        assert part.replace("TMP", str(folder)) in outcome.errors[0]


def leaves(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in kind.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def alternatives(annotation: Any) -> list[Any]:
    union = get_origin(annotation) in {Union, types.UnionType}
    return list(get_args(annotation)) if union else [annotation]


def wrong_values(info: FieldInfo) -> Iterator[tuple[str, str]]:
    """(override value, what the sentence must say) of every way to get this field wrong."""
    kinds = alternatives(info.annotation)
    if type(None) not in kinds:
        yield "null", "input should be"
    for kind in kinds:
        if get_origin(kind) is Literal:
            yield "nope", repr(get_args(kind)[-1])
        elif get_origin(kind) is tuple:
            yield "nope", "valid tuple"
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield "nope", "valid dictionary"
        else:
            yield from WRONG_TYPES.get(kind, [])
    for bound in info.metadata:
        yield from outside(bound, int in kinds)


WRONG_TYPES: dict[Any, list[tuple[str, str]]] = {
    int: [("abc", "valid integer"), ("1.5", "valid integer"), ("[1]", "valid integer")],
    float: [("abc", "valid number"), (".nan", "finite number"), (".inf", "finite number")],
    bool: [("perhaps", "valid boolean")],
    str: [("[1]", "valid string")],
}


def outside(bound: object, whole: bool) -> Iterator[tuple[str, str]]:
    """The nearest value beyond a bound, and the bound's own words."""
    step = 1 if whole else 0.001
    for words, limit, beyond in (
        ("greater than or equal to", getattr(bound, "ge", None), -step),
        ("greater than", getattr(bound, "gt", None), 0),
        ("less than or equal to", getattr(bound, "le", None), step),
        ("less than", getattr(bound, "lt", None), 0),
    ):
        if limit is not None:
            yield str(limit + beyond), f"{words} {str(limit).removesuffix('.0')}"


FIELDS = [
    pytest.param(key, value, says, id=f"{key}={value}")
    for key, info in leaves(TrainConfig)
    for value, says in wrong_values(info)
]


def beside(key: str) -> list[str]:
    """Overrides without which the field's section has no such field."""
    section, _, name = key.rpartition(".")
    owners = [loss for loss, parameters in PARAMETERS.items() if name in parameters]
    return [f"{section}.name={owners[0]}"] if section == "train.loss" and owners else []


@pytest.mark.parametrize(("key", "value", "says"), FIELDS)
def test_a_wrong_value_of_a_field_is_one_sentence(
    key: str,
    value: str,
    says: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = snapshot(home / "runs")
    config = home / "config.yaml"
    overrides = [*beside(key), f"{key}={value}"]
    outcome = in_process(monkeypatch, capfd, "mine", str(config), *overrides)
    assert (outcome.code, outcome.out) == (2, "")
    assert [outcome.err] == [line + "\n" for line in outcome.errors]
    assert outcome.err.startswith(f"pyrite: error: {config}: {key}=")
    assert says in outcome.err
    assert snapshot(home / "runs") == before


def test_every_field_has_a_wrong_value() -> None:
    tried = {str(parameters.values[0]) for parameters in FIELDS}
    assert tried == {key for key, _ in leaves(TrainConfig)}


@pytest.mark.parametrize(
    "arguments", [["mien"], ["mine"], ["train"], ["eval"], ["mine", "CONFIG", "--jsno"]]
)
def test_a_wrong_call_is_a_usage_error(
    arguments: list[str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = str(home / "config.yaml")
    given = [config if part == "CONFIG" else part for part in arguments]
    outcome = in_process(monkeypatch, capfd, *given)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Usage: pyrite" in outcome.err
    assert "Traceback" not in outcome.err
    wanted = {1: "CONFIG", 3: "--jsno"}[len(given)] if arguments != ["mien"] else "'mien'"
    assert wanted in outcome.err


def test_after_all_these_mistakes_the_good_run_is_still_whole(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = in_process(monkeypatch, capfd, "mine", str(home / "config.yaml"))
    assert outcome.code == 0
    assert f"kept {home / 'runs' / 'toy' / 'negatives'}" in outcome.out

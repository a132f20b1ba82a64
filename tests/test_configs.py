"""Run this file to regenerate `golden/config_keys.txt` after a change of the public keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pyrite.core.config import Section, dump_config, load_config
from pyrite.eval.nevir import NevirConfig
from pyrite.miner.made.config import MakeConfig
from pyrite.miner.relabel.config import RelabelConfig
from pyrite.trainers.run_config import TrainConfig

TESTS = Path(__file__).resolve().parent
GOLDEN = TESTS / "golden" / "config_keys.txt"
RECIPES = sorted((TESTS.parent / "configs").glob("*.yaml"))


def keys_with_defaults(section: BaseModel, prefix: str = "") -> Iterator[str]:
    """`key = default` of every key below `section`, in declaration order."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from keys_with_defaults(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {json.dumps(to_jsonable_python(value))}"


def kind_of(path: Path) -> type[Section]:
    kinds: dict[str, type[Section]] = {"relabel": RelabelConfig, "make": MakeConfig}
    return kinds.get(path.stem, TrainConfig)


def plainest(kind: type[Section], name: str = "run") -> Section:
    """A configuration of what has no default alone."""
    needed: dict[type[Section], dict[str, object]] = {
        RelabelConfig: {"data": {"path": "train.jsonl"}, "stages": [{"judge": "duplicates"}]},
        MakeConfig: {"checks": [{"judge": "chat"}]},
    }
    return kind.model_validate({"name": name, **needed.get(kind, {})})


def golden_text() -> str:
    config = plainest(RelabelConfig)
    assert isinstance(config, RelabelConfig)
    lines = [
        *keys_with_defaults(TrainConfig()),
        "",
        *(line for line in keys_with_defaults(config) if not line.startswith("stages = ")),
        *keys_with_defaults(config.stages[0], "stages[]."),
        "",
        # a check has the keys of a stage's judge
        *(k for k in keys_with_defaults(plainest(MakeConfig)) if not k.startswith("checks = ")),
        "",
        *keys_with_defaults(NevirConfig()),
    ]
    return "\n".join(lines) + "\n"


def flat(data: dict[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in data.items():
        # a key whose value is an empty mapping is no section
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_there_are_recipes_and_one_is_the_makefile_s_default() -> None:
    makefile = (TESTS.parent / "Makefile").read_text("utf-8")
    assert "CONFIG ?= configs/stdlib.yaml" in makefile
    assert "stdlib.yaml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_loads_and_its_dump_means_the_same(path: Path, tmp_path: Path) -> None:
    kind = kind_of(path)
    config = load_config(kind, path)
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(dump_config(config), encoding="utf-8")
    assert load_config(kind, dumped) == config
    assert dump_config(load_config(kind, dumped)) == dump_config(config)
    assert list(flat(yaml.safe_load(dumped.read_text("utf-8")))) == [
        line.partition(" = ")[0] for line in keys_with_defaults(plainest(kind))
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_has_its_own_run_folder_and_changes_something(path: Path) -> None:
    kind = kind_of(path)
    config = load_config(kind, path)
    plain = plainest(kind, path.stem)
    assert yaml.safe_load(path.read_text("utf-8"))["name"] == path.stem
    assert config != plain


def test_the_public_keys_and_their_defaults_are_the_agreed_ones() -> None:
    agreed = GOLDEN.read_text("utf-8").splitlines()
    found = golden_text().splitlines()
    command = f"python {Path(__file__).relative_to(TESTS.parent)}"
    assert found == agreed, f"if this change of the public keys is meant, run: {command}"


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(golden_text(), encoding="utf-8")

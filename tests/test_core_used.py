"""No key is ignored without a word: what reads it is named, or what is not used is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pyrite.core.config import Section, dump_config, load_config, parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.used import ALL, Used, changed, idle_keys, only
from pyrite.miner.samplers import SAMPLERS, SamplerConfig, SamplerPart
from pyrite.trainers.run_config import TrainConfig

# what each sampler reads beside name, source, cluster and n, with another value than the default
READ: dict[str, dict[str, Any]] = {
    "topk": {},
    "random": {"outside": True},
    "window": {"window_min": 3, "window_max": 50},
    "scincl": {"k_hard": 30, "c_hard": 9, "k_share": 0.5},
    "simans": {"a": 2.0, "b": 1.0, "kernel": "laplace", "tau": 1.0},
    "softmax": {"temperature": 1.0, "pool": 20},
    "popularity": {"power": 1.0},
    "saha": {"mult": 5},
}
PARAMETERS = {key: value for own in READ.values() for key, value in own.items()}


class Leaf(Section):
    a: int = 1
    b: tuple[int, ...] = ()


class Tree(Section):
    plain: str
    leaf: Leaf = Leaf(a=5)
    c: float = 0.5
    other: Leaf | None = None


class Branch(Section):
    """A section with a switch that is off, one that has kinds, and one of its parts."""

    on: str | None = None
    kind: str = "x"
    x: int = 0
    y: int = 0
    leaf: Leaf = Leaf()

    USED = (only(ALL, "on", off=None, instead="set {at}on"), only("y leaf.a", "kind", "y", "z"))


class Root(Section):
    many: tuple[Branch, ...] = ()
    one: Branch = Branch()
    size: int = 0

    USED = (
        Used(("many.x", "size"), ("one.kind",), lambda root: root.one.kind == "x", "set {key}"),
    )


def test_changed_names_what_is_not_at_its_default_given_or_not() -> None:
    assert changed(Tree(plain="x")) == ["plain"]
    # what a dump says is no change
    assert changed(Tree.model_validate(Tree(plain="x").model_dump()), "t.") == ["t.plain"]
    assert changed(Tree(plain="x", leaf=Leaf(b=(2,)), c=1)) == ["plain", "leaf.b", "c"]
    # the section differs from its parent's default by being at its own
    assert changed(Tree(plain="x", leaf=Leaf())) == ["plain", "leaf"]
    # in the place of null there is nothing to compare with
    assert changed(Tree(plain="x", other=Leaf(a=3))) == ["plain", "other"]
    assert changed(Leaf()) == []


def test_keys_of_sections_and_lists_are_found_with_their_paths() -> None:
    root = Root.model_validate(
        {
            "many": [{"on": "a", "x": 4}, {"on": "a", "kind": "y", "y": 2, "leaf": {"a": 2}}],
            "one": {"on": "a", "kind": "w", "y": 5, "leaf": {"a": 7, "b": [1]}},
            "size": 1,
        },
        context="idle keys are looked for later",
    )
    assert [(one.path, one.why) for one in idle_keys(root)] == [
        ("many.0.x", "with one.kind=w"),
        ("size", "with one.kind=w"),
        ("one.y", "with one.kind=w"),
        ("one.leaf.a", "with one.kind=w"),
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"one": {"x": 1}}, "one.x has no effect with one.on=null; remove it or set one.on"),
        (
            {"one": {"on": "a", "y": 1}},
            "one.y has no effect with one.kind=x; remove it or set one.kind=y or z",
        ),
    ],
)
def test_an_idle_key_is_one_sentence(data: dict[str, Any], says: str) -> None:
    with pytest.raises(PyriteError) as error:
        parse_config(Root, data, "f.yaml")
    assert str(error.value) == f"f.yaml: {says}"
    # one who builds the section in Python hears the same of the keys below it
    with pytest.raises(ValidationError, match=r"has no effect with (on|kind)="):
        Branch.model_validate(data["one"])


def test_a_section_that_is_off_by_name_is_told_and_stays(caplog: pytest.LogCaptureFixture) -> None:
    data = {"one": {"on": None, "x": 1, "leaf": {"b": [1, 2]}}}
    config = parse_config(Root, data, "f.yaml")
    assert caplog.messages == [
        "f.yaml: not used: one.x, one.leaf.b (2 keys, with one.on=null)",
    ]
    assert config.one.x == 1
    assert Branch.model_validate(data["one"]) == config.one


def file(folder: Path, data: dict[str, Any]) -> Path:
    path = folder / "f.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_an_override_that_leaves_keys_idle_takes_them_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = file(tmp_path, {"one": {"on": "a", "kind": "y", "y": 3, "leaf": {"a": 2, "b": [1]}}})
    config = load_config(Root, path, ["one.kind=x"])
    assert caplog.messages == [
        f"{path}: not used: one.y, one.leaf.a (2 keys, with one.kind=x)",
    ]
    assert config == Root(one=Branch(on="a", leaf=Leaf(b=(1,))))
    # what a run keeps of it says nothing that has no effect
    path.write_text(dump_config(config), encoding="utf-8")
    caplog.clear()
    assert load_config(Root, path) == config
    assert not caplog.messages


def test_an_override_of_the_key_itself_is_a_mistake(tmp_path: Path) -> None:
    path = file(tmp_path, {"one": {"on": "a", "kind": "y"}})
    for overrides in (["one.kind=x", "one.y=3"], ["one={on: a, kind: x, y: 3}"], ["size=2"]):
        wanted = "size" if overrides == ["size=2"] else "one.y"
        with pytest.raises(PyriteError, match=f"{wanted} has no effect"):
            load_config(Root, path, overrides)


def test_a_file_s_own_mistake_is_not_excused_by_an_override_of_something_else(
    tmp_path: Path,
) -> None:
    path = file(tmp_path, {"one": {"on": "a", "y": 3}})
    with pytest.raises(PyriteError, match=r"one\.y has no effect"):
        load_config(Root, path, ["one.x=4"])


def test_what_yaml_shares_is_taken_out_at_one_place_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("many: [&b {on: a, kind: y, y: 3}]\none: *b\n", encoding="utf-8")
    config = load_config(Root, path, ["one.kind=x"])
    assert (config.one.y, config.many[0].y) == (0, 3)


def test_every_sampler_is_in_the_table() -> None:
    own = {"name", "source", "cluster", "n"}
    assert set(READ) == set(SAMPLERS)
    assert set(PARAMETERS) == set(SamplerPart.model_fields) - own


@given(
    name=st.sampled_from(sorted(READ)),
    given_=st.dictionaries(st.sampled_from(sorted(PARAMETERS)), st.booleans()),
)
def test_a_sampler_s_parameter_is_told_unless_it_reads_it(
    name: str, given_: dict[str, bool]
) -> None:
    """A parameter stands at another value (True) or at its default, which a dump names too."""
    defaults = SamplerPart().model_dump()
    fields = {k: PARAMETERS[k] if other else defaults[k] for k, other in given_.items()}
    idle = [k for k in SamplerPart.model_fields if given_.get(k) and k not in READ[name]]
    data = {"sampler": {"name": name, "n": 1, **fields}}
    if not idle:
        parse_config(TrainConfig, data)
        return
    with pytest.raises(PyriteError) as error:
        parse_config(TrainConfig, data)
    key = str(error.value).removeprefix("configuration: sampler.").partition(" ")[0]
    (owner,) = (sampler for sampler, own in READ.items() if key in own)
    assert key in idle
    assert str(error.value) == (
        f"configuration: sampler.{key} has no effect with sampler.name={name}; remove it or set"
        f" sampler.name={owner}"
    )


@pytest.mark.parametrize("name", READ)
def test_an_override_of_the_sampler_tells_what_it_leaves(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = next(n for n in READ if n != name and READ[n])
    path = file(tmp_path, {"sampler": {"name": first, "n": 1, **READ[first]}})
    config = load_config(TrainConfig, path, [f"sampler.name={name}"])
    assert config.sampler == SamplerConfig(name=name, n=1)
    keys = ", ".join(f"sampler.{k}" for k in SamplerPart.model_fields if k in READ[first])
    (told,) = caplog.messages
    assert told.startswith(f"{path}: not used: {keys} ({len(READ[first])} key")
    assert told.endswith(f", with sampler.name={name})")


BASE: dict[str, Any] = {
    "sampler": {"name": "simans", "a": 2.0, "n": 12},
    "train": {"steps": 8, "draw": "sample", "loss": {"name": "hardness", "alpha": 3.0}},
    "refresh": {"mode": "async", "every_steps": 9, "gate": {"split": "dev"}},
    "filters": {"clusters": 9, "max_per_cluster": 2},
}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["refresh.mode=off"],
            ["refresh.every_steps, refresh.gate.split (2 keys, with refresh.mode"],
        ),
        (["train.loss.name=info_nce"], ["train.loss.alpha (1 key, with train.loss.name=info_nce)"]),
        (
            ["filters.max_per_cluster=null"],
            ["filters.clusters (1 key, where no negatives are chosen by cluster)"],
        ),
        (
            ["refresh={}", "train.kind=cross-encoder"],
            [
                "train.steps, train.draw, train.loss.name, train.loss.alpha (4 keys, with"
                " train.kind=cross-encoder)"
            ],
        ),
        (
            ["sampler.mix=[{name: topk, n: 3}]"],
            ["sampler.n, sampler.a (2 keys, with sampler.mix)"],
        ),
    ],
)
def test_a_base_file_is_not_spoilt_by_what_switches_a_part_off(
    overrides: list[str], told: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = file(tmp_path, BASE)
    load_config(TrainConfig, path)
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        config = load_config(TrainConfig, path, overrides)
    assert len(caplog.messages) == len(told)
    for message, says in zip(caplog.messages, told, strict=True):
        assert message.startswith(f"{path}: not used: {says}")
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(TrainConfig, path) == config

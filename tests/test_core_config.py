from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from pyrite.core.config import (
    Section,
    dump_config,
    load_config,
    parse_config,
)
from pyrite.core.errors import PyriteError


class Inner(Section):
    rate: float = Field(0.1, ge=0)
    depth: int = 10
    kind: Literal["top", "window", "off"] = "top"
    note: str | None = None
    normalize: bool = True


class Outer(Section):
    name: str = "run"
    seed: int = 0
    miner: Inner = Inner()
    sampler: Inner = Inner(depth=3)

    @model_validator(mode="after")
    def _not_both(self) -> Outer:
        if self.seed == 13 and self.name == "unlucky":
            raise ValueError("seed 13 with name unlucky; change seed")
        return self


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(path: Path | None, *overrides: str) -> str:
    with pytest.raises(PyriteError) as caught:
        load_config(Outer, path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_default_then_file_then_overrides_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nminer: {depth: 20, kind: window}\n")
    assert load_config(Outer, None) == Outer()
    from_file = load_config(Outer, path)
    assert (from_file.seed, from_file.miner.depth, from_file.miner.kind) == (1, 20, "window")
    assert (from_file.name, from_file.sampler.depth) == ("run", 3)
    both = load_config(Outer, path, ["miner.depth=30", "miner.depth=40", "name=x"])
    assert (both.seed, both.miner.depth, both.miner.kind, both.name) == (1, 40, "window", "x")


def test_off_is_a_word_and_no_boolean_where_a_word_is_wanted(tmp_path: Path) -> None:
    config = load_config(Outer, write(tmp_path, "miner: {kind: off}\n"), ["sampler.kind=off"])
    assert (config.miner.kind, config.sampler.kind) == ("off", "off")
    assert load_config(Outer, write(tmp_path, dump_config(config))) == config


@pytest.mark.parametrize("word", ["false", "False", "FALSE", "no", "off", "Off"])
def test_every_word_for_false_is_one_where_a_boolean_is_wanted(tmp_path: Path, word: str) -> None:
    assert not load_config(Outer, None, [f"miner.normalize={word}"]).miner.normalize


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load_config(Outer, write(tmp_path, "# nothing yet\n")) == Outer()


@pytest.mark.parametrize(
    ("text", "unknown", "closest"),
    [
        ("sede: 1", "sede", "seed"),
        ("miner: {dept: 1}", "miner.dept", "miner.depth"),
        ("sampler: {ratte: 1}", "sampler.ratte", "sampler.rate"),
        ("minner: {depth: 1}", "minner", "miner"),
        ("depth: 1", "depth", "miner.depth"),
    ],
)
def test_an_unknown_key_names_the_closest_valid_one(
    tmp_path: Path, text: str, unknown: str, closest: str
) -> None:
    path = write(tmp_path, text)
    assert message(path) == f"{path}: unknown key '{unknown}'; did you mean '{closest}'?"


def test_a_key_like_none_other_lists_the_valid_ones(tmp_path: Path) -> None:
    text = message(write(tmp_path, "zzzzzz: 1"))
    assert "valid keys: name, seed, miner, miner.rate, miner.depth" in text
    assert "sampler.normalize" in text


def test_an_unknown_key_is_told_before_a_wrong_type(tmp_path: Path) -> None:
    assert "unknown key 'miner.dept'" in message(write(tmp_path, "seed: x\nminer: {dept: 1}"))


@pytest.mark.parametrize(
    ("override", "key_and_value"),
    [
        ("seed=many", "seed='many'"),
        ("seed=1.5", "seed=1.5"),
        ("seed=", "seed=None"),
        ("miner.rate=-1", "miner.rate=-1"),
        ("miner.rate=.nan", "miner.rate=nan"),
        ("miner.rate=.inf", "miner.rate=inf"),
        ("miner.kind=bottom", "miner.kind='bottom'"),
        ("miner.normalize=perhaps", "miner.normalize='perhaps'"),
        ("miner=3", "miner=3"),
        ("name=[a]", "name=['a']"),
    ],
)
def test_a_wrong_value_names_key_and_value(override: str, key_and_value: str) -> None:
    assert message(None, override).startswith(f"configuration: {key_and_value}: ")


def test_a_literal_lists_what_is_allowed_and_a_bound_is_named() -> None:
    text = message(None, "miner.kind=bottom")
    assert "'top'" in text
    assert "'window'" in text
    assert "greater than or equal to 0" in message(None, "miner.rate=-0.5")


def test_a_rule_over_two_keys_keeps_its_own_sentence() -> None:
    text = message(None, "seed=13", "name=unlucky")
    assert text == "configuration: seed 13 with name unlucky; change seed"


@pytest.mark.parametrize("override", ["seed", "=1", "miner.=1", ".seed=1", "", "a..b=1"])
def test_an_override_without_its_form_says_the_form(override: str) -> None:
    assert message(None, override) == (
        f"override {override!r}: expected the form section.key=value"
    )


def test_an_override_below_a_value_names_the_value(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1")
    assert message(path, "seed.low=2") == "override 'seed.low=2': 'seed' is a value, not a section"


@pytest.mark.parametrize("raw", ["[1", "{a: ", "!!python/object:os.system", "2024-99-99", "0b_"])
def test_an_override_that_is_no_yaml_is_an_error(tmp_path: Path, raw: str) -> None:
    assert message(None, f"name={raw}") == f"override 'name={raw}': the value is not valid YAML"
    path = write(tmp_path, f"name: {raw}")
    assert message(path).startswith(f"{path}: not readable as YAML: ")


@pytest.mark.parametrize(
    ("text", "kind"), [("- a\n- b", "list"), ("just words", "str"), ("3", "int")]
)
def test_yaml_that_is_no_mapping_is_an_error(tmp_path: Path, text: str, kind: str) -> None:
    path = write(tmp_path, text)
    assert message(path) == f"{path}: a YAML {kind}, expected keys and values"


def test_a_missing_folder_or_binary_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    assert message(path) == f"{path}: no such configuration file"
    assert "not readable as YAML" in message(tmp_path)
    path.write_bytes(b"name: \xff\xfe")
    assert "not readable as YAML" in message(path)


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "0.00001", "'1e-5'"])
def test_a_small_float_is_a_float_however_written(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"miner: {{rate: {text}}}")
    assert load_config(Outer, path).miner.rate == 1e-5
    assert load_config(Outer, None, [f"miner.rate={text}"]).miner.rate == 1e-5


@pytest.mark.parametrize(
    ("raw", "value"), [("null", None), ("'null'", "null"), ("a=b", "a=b"), ("''", ""), ("", None)]
)
def test_an_override_is_read_as_yaml(raw: str, value: str | None) -> None:
    assert load_config(Outer, None, [f"miner.note={raw}"]).miner.note == value


def test_sections_are_frozen() -> None:
    config = load_config(Outer, None)
    with pytest.raises(ValidationError, match="frozen"):
        config.miner.depth = 4  # type: ignore[misc]


def test_keys_are_dumped_in_declaration_order() -> None:
    keys = [line.split(":")[0] for line in dump_config(Outer()).splitlines()]
    inner = ["  rate", "  depth", "  kind", "  note", "  normalize"]
    assert keys == ["name", "seed", "miner", *inner, "sampler", *inner]


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    seed=st.integers(0, 2**63),
    rate=st.floats(0, allow_infinity=False),
    note=st.none() | st.sampled_from(["null", "yes", "1e-5", "2024-01-01", "a: b", "", "é\n#"]),
    normalize=st.booleans(),
)
def test_dump_then_load_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    seed: int,
    rate: float,
    note: str | None,
    normalize: bool,
) -> None:
    config = Outer(name=name, seed=seed, miner=Inner(rate=rate, note=note, normalize=normalize))
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    path.write_bytes(dump_config(config).encode())
    assert load_config(Outer, path) == config


def test_parse_config_says_where() -> None:
    with pytest.raises(PyriteError, match=r"^manifest: unknown key 'sed'; did you mean 'seed'\?$"):
        parse_config(Outer, {"sed": 1}, "manifest")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\n\n# more\nseed: 1\n", "the key 'seed' is given twice, in lines 1 and 4"),
        ("seed: 1\n'seed': 2\n", "'seed' is given twice, in lines 1 and 2"),
        ("miner:\n  depth: 1\n  rate: 1\n  depth: 2\n", "'depth' is given twice, in lines 2 and 4"),
        ("miner: {depth: 1, depth: 2}\n", "'depth' is given twice, in line 1"),
        ("miner: {}\nsampler: {}\nminer: {}\n", "'miner' is given twice, in lines 1 and 3"),
    ],
)
def test_a_key_given_twice_is_named_with_its_lines(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    found = message(path)
    assert found.startswith(f"{path}: ")
    assert says in found
    assert found.endswith("; remove one")


def test_a_key_given_twice_in_an_override_is_an_error() -> None:
    found = message(None, "miner={depth: 1, depth: 2}")
    assert found.startswith("override 'miner={depth: 1, depth: 2}': the key 'depth' is given twice")


def test_equal_keys_of_two_sections_and_merged_keys_are_no_mistake(tmp_path: Path) -> None:
    text = "miner: &base\n  depth: 7\n  rate: 2\nsampler:\n  <<: *base\n  depth: 9\n"
    config = load_config(Outer, write(tmp_path, text))
    assert (config.miner.depth, config.sampler.depth, config.sampler.rate) == (7, 9, 2.0)

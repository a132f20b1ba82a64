"""The section `train.loss`: defaults of each loss, and combinations that mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pyrite.core.config import load_config, parse_config
from pyrite.core.errors import PyriteError
from pyrite.trainers.loss_config import PARAMETERS, LossSection


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_loss_has_its_own_parameters_filled_and_no_other(name: str) -> None:
    section = parse_config(LossSection, {"name": name})
    every = {key for parameters in PARAMETERS.values() for key in parameters}
    for key in every:
        assert getattr(section, key) == PARAMETERS[name].get(key), key


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_dump_means_the_same(name: str) -> None:
    section = parse_config(LossSection, {"name": name})
    assert parse_config(LossSection, section.model_dump(mode="json")) == section


def test_a_given_parameter_wins() -> None:
    section = parse_config(LossSection, {"name": "hcl", "beta": 0.5})
    assert (section.beta, section.tau_plus, section.detach) == (0.5, 0.0, False)


def test_no_key_is_a_truth_value_of_yaml(tmp_path: Path) -> None:
    # YAML 1.1 reads on, off, yes, no, y and n as booleans, also as keys
    for key in LossSection.model_fields:
        assert list(yaml.safe_load(f"{{{key}: 1}}")) == [key]
    path = tmp_path / "loss.yaml"
    path.write_text("{name: hardness, where: all}", encoding="utf-8")
    assert load_config(LossSection, path).where == "all"


@pytest.mark.parametrize("name", PARAMETERS)
def test_another_loss_s_parameter_is_named_with_its_owners(name: str) -> None:
    key, value, owner = ("phi", 0.5, "dclr") if name != "dclr" else ("prior", 0.1, "nn_pu")
    says = rf"{key} has no effect with name={name}; .*set name={owner}$"
    with pytest.raises(PyriteError, match=says):
        parse_config(LossSection, {"name": name, key: value})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"name": "nope"}, "name='nope'"),
        ({"temperature": 0}, "temperature=0"),
        ({"weight_floor": 1.1}, r"weight_floor=1\.1"),
        ({"directions": []}, r"directions=\[\]"),
        ({"directions": ["d2a"]}, "d2a"),
        ({"directions": ["q2d", "q2d"]}, "names one twice"),
        ({"directions": ["q2q"]}, "directions needs q2d or d2q"),
        ({"directions": ["q2d", "d2d"], "partition": "per_direction"}, "set partition=joint"),
        ({"name": "ccl", "directions": ["d2q"]}, r"name=ccl has one direction; set it to \[q2d\]"),
        ({"name": "debiased", "tau_plus": 1.0}, r"tau_plus=1\.0"),
        ({"name": "debiased", "similarity": "dot"}, r"cosines only; set train\.loss\.similarity"),
        ({"name": "hcl", "beta": -1}, "beta=-1 must be at least 0 for hcl"),
        ({"name": "nn_pu", "beta": -1}, "beta=-1 must be at least 0 for nn_pu"),
        ({"name": "cluster_ns", "alpha": 0.6}, "alpha=0.6 must not be above train.loss.beta=0.5"),
        ({"name": "soft_info_nce", "beta": 0}, "train.loss.beta=0 above 0"),
        ({"name": "soft_info_nce", "alpha": -0.5}, "alpha=-0.5 must be at least 0"),
        (
            {"name": "soft_info_nce", "source": "bm25_documents", "directions": ["q2d", "d2q"]},
            r"bm25_documents scores documents; set train\.loss\.directions=\[q2d\]",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_means_nothing_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(PyriteError, match=says):
        parse_config(LossSection, config)


@pytest.mark.parametrize(
    "config",
    [
        {"directions": ["d2q"]},
        {"directions": ["q2d", "d2q"], "partition": "per_direction"},
        {"name": "hcl", "similarity": "dot"},
        {"name": "soft_info_nce", "source": "bm25_queries", "directions": ["q2d", "d2q"]},
        {"name": "cluster_ns", "alpha": 0.5},
    ],
    ids=str,
)
def test_what_means_something_is_not(config: dict[str, Any]) -> None:
    parse_config(LossSection, config)


def test_what_a_loss_needs_beside_the_texts() -> None:
    def named(need: str) -> set[str]:
        return {n for n in PARAMETERS if getattr(parse_config(LossSection, {"name": n}), need)}

    assert named("needs_guide") == {"gist", "dclr", "soft_info_nce"}
    assert named("needs_teacher") == {"margin_mse", "kl"}
    lexical = {"name": "soft_info_nce", "source": "bm25_queries"}
    assert not parse_config(LossSection, lexical).needs_guide

"""What `pyrite doctor` finds, says and never says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cli_setup import in_process
from packaging.requirements import Requirement

from pyrite import doctor
from pyrite.doctor import Diagnosis, Finding, diagnose, installed, requirements

SECRET = "sk-never-shown-1234"


def found(topic: str, name: str) -> Finding:
    (finding,) = (f for f in diagnose().findings if (f.topic, f.name) == (topic, name))
    return finding


def test_this_machine_is_fit_and_the_json_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = in_process(monkeypatch, capfd, "doctor", "--json")
    assert outcome.code == 0
    said = json.loads(outcome.out)
    assert said["healthy"] is True
    topics = {finding["topic"] for finding in said["findings"]}
    assert topics == {"machine", "packages", "gpu", "faiss", "java", "extras", "environment"}
    by_name = {finding["name"]: finding for finding in said["findings"]}
    assert by_name["torch"]["value"] == metadata.version("torch")
    for name in ("memory", "disk, here", "disk, hub cache", "disk, temporary"):
        assert by_name[name]["value"].endswith("GiB free")


def test_every_dependency_and_extra_of_a_user_is_looked_at() -> None:
    names = {(f.topic, f.name) for f in diagnose().findings}
    wanted = requirements()
    assert {("packages", need.name) for need in wanted[""]} <= names
    assert {n for t, n in names if t == "extras"} == set(wanted) - {"", "dev", "docs"}


def test_a_secret_is_never_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.delenv("CI", raising=False)
    for flags in ([], ["--json"]):
        outcome = in_process(monkeypatch, capfd, "doctor", *flags)
        assert SECRET not in outcome.out + outcome.err
    assert found("environment", "OPENAI_API_KEY").value == "set"
    assert found("environment", "CI").value == "not set"


def absent(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    there = metadata.version

    def version(name: str) -> str:
        if name in names:
            raise metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr("importlib.metadata.version", version)


def test_a_missing_extra_comes_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    absent(monkeypatch, "peft")
    outcome = in_process(monkeypatch, capfd, "doctor")
    assert outcome.code == 0, "an extra is nobody's need"
    assert "extras lora: without peft; pip install 'pyrite[lora]'" in outcome.out
    assert "all that every verb needs is there" in outcome.out


def test_a_missing_dependency_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    absent(monkeypatch, "bm25s")
    outcome = in_process(monkeypatch, capfd, "doctor")
    assert outcome.code == 1
    assert "packages bm25s: not installed; pip install 'bm25s>=0.3'" in outcome.out
    assert "what is BROKEN stops every verb" in outcome.out


def test_a_version_out_of_the_range_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed(Requirement("numpy>=999")) == (metadata.version("numpy"), False)
    monkeypatch.setattr(doctor, "requirements", lambda: {"": [Requirement("numpy>=999")]})
    assert found("packages", "numpy").state == "broken"
    assert found("packages", "numpy").advice == "pip install 'numpy>=999'"


def test_both_builds_of_faiss_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda need: ("1.14", True))
    finding = found("faiss", "packages")
    assert finding.state == "broken"
    assert "pip uninstall faiss-cpu faiss-gpu" in finding.advice


@pytest.mark.parametrize(("version", "state"), [(None, "missing"), (17, "missing"), (21, "ok")])
def test_java_is_wanted_for_lucene_alone(
    version: int | None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrite.indexes.lucene_index.java_here", lambda: version)
    finding = found("java", "version")
    assert finding.state == state
    assert ("pyrite[lucene]" in finding.advice) == (state == "missing")
    assert Diagnosis((finding,)).healthy


def test_little_memory_in_a_container_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**29}\n")
    monkeypatch.setattr("pyrite.core.free_memory.CGROUP", tmp_path)
    finding = found("machine", "memory")
    assert finding.value == "0.5 of 1.0 GiB free"
    assert "encoder.batch_tokens" in finding.advice
    (tmp_path / "memory.max").write_text("max\n")
    assert found("machine", "memory").value != finding.value


def test_a_full_disk_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free, total = 2**20, 2**40

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    assert "cache_dir" in found("machine", "disk, here").advice


def test_gpus_are_listed_and_a_build_without_them_is_advised_against(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    assert found("gpu", "devices").state == "missing"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Toy GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (2**30, 2**31))
    assert found("gpu", "cuda:0").value == "Toy GPU, 1.0 of 2.0 GiB free"


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def _gpu() -> Iterator[Any]:
        raise RuntimeError("driver too old\nand more")
        yield

    monkeypatch.setattr(doctor, "_gpu", _gpu)
    finding = found("gpu", "check")
    assert (finding.value, finding.state) == ("driver too old", "broken")
    assert found("environment", "CI")

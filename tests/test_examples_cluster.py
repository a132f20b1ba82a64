"""The files that start a cluster: syntax, keys, and commands that the command line takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pyrite.cli import app
from pyrite.core.config import load_config
from pyrite.trainers.run_config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ROOT / "examples" / "cluster"
SCRIPTS = sorted(CLUSTER.glob("*.sbatch"))
MANIFESTS = sorted(CLUSTER.glob("*.yaml"))
VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
RAY_START = ("--num-cpus", "--num-gpus", "--disable-usage-stats")
MOST_LINES = 100


def named(path: Path) -> str:
    return path.name


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def shell_of(path: Path) -> str:
    """All commands of a file, without comments, as a shell reads them."""
    if path in SCRIPTS:
        text = path.read_text("utf-8")
    else:
        found: list[str] = []
        for document in documents(path):
            if document["kind"] == "RayJob":
                found.append(document["spec"]["entrypoint"])
            if document["kind"] == "Job":
                container = document["spec"]["template"]["spec"]["containers"][0]
                assert container["command"] == ["bash", "-c"]
                found += container["args"]
        text = "\n".join(found)
    lines = (line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#"))
    return "\n".join(lines)


def calls(path: Path) -> Iterator[list[str]]:
    """Words after `pyrite` of each call, variables in the place of what a shell puts there."""
    for line in shell_of(path).splitlines():
        for call in re.findall(r"(?:-m |exec |^ *|-- +)pyrite (\w+ .*)", line):
            # within a quoted script the first argument is the run
            yield shlex.split(call)


EVERY = [(path, words) for path in (*SCRIPTS, *MANIFESTS) for words in calls(path)]


def test_there_are_the_four_files_and_all_their_calls() -> None:
    assert [path.name for path in SCRIPTS] == ["slurm-mine.sbatch", "slurm-train.sbatch"]
    assert [path.name for path in MANIFESTS] == ["kuberay-mine.yaml", "kubernetes-train.yaml"]
    found = sorted((path.name, words[0]) for path, words in EVERY)
    assert found == [
        ("kuberay-mine.yaml", "mine"),
        ("kubernetes-train.yaml", "refresh"),
        ("kubernetes-train.yaml", "train"),
        ("slurm-mine.sbatch", "mine"),
        ("slurm-train.sbatch", "refresh"),
        ("slurm-train.sbatch", "train"),
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_a_script_is_one_of_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text("utf-8")
    assert text.startswith("#!/bin/bash\n")
    assert text.count("\n") < MOST_LINES
    assert "set -euo pipefail" in text
    assert f"sbatch examples/cluster/{path.name}" in text
    for option in re.findall(r"^#SBATCH (\S+)", text, re.MULTILINE):
        assert re.fullmatch(r"--[a-z-]+(=\S+)?", option)
    # set by Slurm, or by the script before
    given = {"SLURM_JOB_NODELIST", "SLURM_JOB_NUM_NODES", "SLURM_CPUS_PER_TASK"}
    given |= {"SLURM_GPUS_ON_NODE", "SLURM_JOB_ID", "1"}
    given |= set(re.findall(r"^(?:export )?(\w+)=", text, re.MULTILINE)) | {"nodes"}
    assert {name for name in re.findall(r"\$\{?(\w+)", text)} <= given


@pytest.mark.parametrize(("path", "words"), EVERY, ids=[f"{p.name} {w[0]}" for p, w in EVERY])
def test_the_command_line_takes_the_call(
    path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    verb, *rest = (re.sub(r"\$\{?\w+\}?", "/shared", word) for word in words)
    rest = [word.replace("/shared/configs/", "configs/") for word in rest]
    context = VERBS[verb].make_context(verb, list(rest))
    overrides = context.params["overrides"]
    assert overrides
    recipe = context.params["config"] if verb != "refresh" else Path("configs/stdlib-ance.yaml")
    config = load_config(TrainConfig, recipe, overrides)
    assert config.encoder.device == "cuda"
    if verb == "mine":
        assert (config.engine, config.ray.address) == ("ray", "auto")
        assert config.ray.gpus_per_worker == 1
        # what workers do not search is searched on the driver
        assert [source.kind for source in config.retrieve.sources] == ["dense"]
        index = config.retrieve.sources[0].index
        assert (index.backend, index.exact, index.device) == ("torch", True, "cuda")
    if verb == "train":
        assert (config.refresh.mode, config.refresh.refresher) == ("async", "external")
        launch = shell_of(path)
        assert "torchrun" in launch
        processes = 8
        assert config.train.batch_size % processes == 0
    if verb != "refresh":
        assert config.runs_dir.startswith("/shared")
        assert config.cache_dir.startswith("/shared")


def test_torchrun_knows_the_options() -> None:
    from torch.distributed.run import get_args_parser

    known = {name for action in get_args_parser()._actions for name in action.option_strings}
    for path in (CLUSTER / "slurm-train.sbatch", CLUSTER / "kubernetes-train.yaml"):
        launch = shell_of(path).partition("torchrun ")[2].partition(" -m pyrite")[0]
        options = re.findall(r"--[a-z-]+", launch)
        assert len(options) >= 5
        assert set(options) <= known


def test_ray_knows_the_options() -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.scripts.scripts import start
    from ray.scripts.symmetric_run import symmetric_run

    line = shell_of(CLUSTER / "slurm-mine.sbatch").partition("ray symmetric-run ")[2]
    options = re.findall(r"--[a-z-]+(?=[ =])", line.partition(" -- ")[0] + " ")
    known = {name for command in (symmetric_run, start) for p in command.params for name in p.opts}
    assert {"--address", "--min-nodes", "--num-gpus"} < set(options) <= known


def test_the_ray_job_is_one_cluster_with_one_version() -> None:
    (job,) = documents(CLUSTER / "kuberay-mine.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) == {
        "entrypoint",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "rayClusterSpec",
    }
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert cluster["rayVersion"] == pins["ray"]
    head, (group,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert set(head) == {"rayStartParams", "template"}
    assert set(group) == {
        "groupName",
        "replicas",
        "minReplicas",
        "maxReplicas",
        "rayStartParams",
        "template",
    }
    # no worker where the files are written
    assert head["rayStartParams"] == {"num-cpus": "0"}
    check_pods([head["template"], group["template"]])


def check_pods(templates: list[Any]) -> None:
    images = set()
    for template in templates:
        (container,) = template["spec"]["containers"]
        images.add(container["image"])
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == volumes
        assert mounts["shared"] == "/shared"
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert len(images) == 1


def test_the_pods_of_a_training_find_each_other() -> None:
    service, train, refresh = documents(CLUSTER / "kubernetes-train.yaml")
    assert [d["kind"] for d in (service, train, refresh)] == ["Service", "Job", "Job"]
    name, spec = train["metadata"]["name"], train["spec"]
    assert service["metadata"]["name"] == spec["template"]["spec"]["subdomain"] == name
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["clusterIP"] == "None"
    assert spec["completionMode"] == "Indexed"
    (command,) = spec["template"]["spec"]["containers"][0]["args"]
    assert f"--nnodes={spec['parallelism']} " in command
    assert spec["completions"] == spec["parallelism"]
    assert f"--master-addr={name}-0.{name} " in command
    limits = spec["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert f"--nproc-per-node={limits['nvidia.com/gpu']} " in command
    check_pods([train["spec"]["template"], refresh["spec"]["template"]])

"""What a user installs: wheel and sdist, in an environment that knows nothing of the checkout."""

from __future__ import annotations

import configparser
import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_setup import Outcome, in_subprocess, write_setup

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NOT_SHIPPED = (".*", "*.egg-info", "__pycache__", "build", "dist", "runs", "shared", "results")
OWN = ("core", "configs", "eval", "indexes", "miner", "trainers")


def shipped_files() -> set[str]:
    """Every module, recipe, prompt, page and marker of the checkout, by its installed name."""
    found = set()
    for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items():
        home = ROOT / folder
        for path in home.rglob("*"):
            data = path.parent.name in {"prompts", "page"}
            if data or path.suffix in {".py", ".yaml"} or path.name == "py.typed":
                inside = path.relative_to(home).as_posix()
                found.add(f"{package.replace('.', '/')}/{inside}")
    return found


def build(source: Path, out: Path, *what: str) -> None:
    """Build in an environment of its own, as pip would."""
    done = in_subprocess([sys.executable, "-m", "build", *what, "--outdir", out, source])
    assert done.code == 0, done.out[-2000:] + done.err[-2000:]


@dataclass(frozen=True)
class Built:
    """The files that a release would have, and a wheel made without the sdist."""

    sdist: Path
    wheel: Path  # built from the sdist
    direct: Path  # built from the checkout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("build")
    # a copy: a build leaves its traces in the source tree, where others work
    source = folder / "checkout"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
    build(source, folder / "release")
    build(source, folder / "direct", "--wheel")
    (sdist,), (wheel,) = folder.glob("release/*.tar.gz"), folder.glob("release/*.whl")
    (direct,) = folder.glob("direct/*.whl")
    return Built(sdist, wheel, direct)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def metadata_of(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if n.endswith(f".dist-info/{name}"))
        return archive.read(path).decode("utf-8")


def test_the_wheel_holds_every_module_recipe_and_marker_and_no_other_package(built: Built) -> None:
    names = names_in(built.wheel)
    code = {name for name in names if ".dist-info/" not in name}
    assert code == shipped_files()
    assert {"pyrite/py.typed", "pyrite/configs/stdlib.yaml", "pyrite/core/store.py"} <= code
    assert {name.split("/")[0] for name in code} == {"pyrite"}
    assert metadata_of(built.wheel, "top_level.txt").split() == ["pyrite"]


def test_the_sdist_builds_the_same_wheel_as_the_checkout(built: Built) -> None:
    assert names_in(built.wheel) == names_in(built.direct)
    with zipfile.ZipFile(built.wheel) as one, zipfile.ZipFile(built.direct) as other:
        for name in one.namelist():
            assert one.read(name) == other.read(name), name
    with tarfile.open(built.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "core/store.py", "src/pyrite/cli.py"} <= held


def test_the_metadata_names_licence_dependencies_and_command(built: Built) -> None:
    metadata = email.message_from_string(metadata_of(built.wheel, "METADATA"))
    project = PROJECT["project"]
    assert (metadata["Name"], metadata["Version"]) == ("pyrite", project["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata_of(built.wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text("utf-8")
    plain = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert sorted(plain) == sorted(project["dependencies"])
    extras = set(metadata.get_all("Provides-Extra", []))
    assert extras == set(project["optional-dependencies"])
    points = configparser.ConfigParser()
    points.read_string(metadata_of(built.wheel, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"pyrite": "pyrite.__main__:main"}


@dataclass(frozen=True)
class Installed:
    """A clean environment, and the folder of a user whose packages have our folders' names."""

    home: Path
    work: Path

    def run(self, *command: str | Path) -> Outcome:
        program, *rest = command
        # whatever points at the checkout must not reach the clean environment
        outside = {"PYTHONPATH": "", "VIRTUAL_ENV": str(self.home)}
        return in_subprocess([self.home / "bin" / program, *rest], self.work, outside)

    def python(self, code: str) -> str:
        outcome = self.run("python", "-c", code)
        assert outcome.code == 0, outcome.err[-2000:]
        return outcome.out.strip()


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("clean")
    home, work = folder / "environment", folder / "work"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(built.wheel)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    # the heavy packages of this environment, but not its .pth files and so no editable pyrite
    (site / "heavy.pth").write_text(sysconfig.get_paths()["purelib"] + os.linesep)
    for name in OWN:
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text('OWNER = "the user"\n', encoding="utf-8")
    write_setup(work / "toy")
    return Installed(home, work)


def test_the_installed_library_is_the_one_that_is_imported(installed: Installed) -> None:
    file = installed.python("import pyrite; print(pyrite.__file__)")
    assert Path(file).is_relative_to(installed.home)
    assert (
        installed.python("import pyrite; print(pyrite.__version__)")
        == (PROJECT["project"]["version"])
    )
    every = installed.python(
        "import importlib, pyrite\n"
        f"for n in {PROJECT['tool']['setuptools']['packages']!r}:\n"
        "    print(importlib.import_module(n).__file__)"
    )
    for line in every.splitlines():
        assert Path(line).is_relative_to(installed.home)


@pytest.mark.parametrize("command", [("pyrite",), ("python", "-m", "pyrite")])
def test_the_command_starts_in_a_folder_with_packages_of_our_names(
    installed: Installed, command: tuple[str, ...]
) -> None:
    helped = installed.run(*command, "--help")
    assert helped.code == 0, helped.err
    assert "Mine hard negatives" in helped.out
    asked = installed.run(*command, "--version")
    assert asked.out == f"pyrite {PROJECT['project']['version']}\n"


@pytest.mark.parametrize("command", [("pyrite",), ("python", "-m", "pyrite")])
def test_mining_works_in_that_folder(installed: Installed, command: tuple[str, ...]) -> None:
    name = f"run-{len(command)}"
    outcome = installed.run(*command, "mine", "toy/config.yaml", f"name={name}", "--json")
    assert outcome.code == 0, outcome.err[-2000:]
    assert json.loads(outcome.out)["queries"] == 15
    run = installed.work / "toy" / "runs" / name / "negatives"
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    assert manifest["versions"]["pyrite"] == PROJECT["project"]["version"]
    assert (run / "negatives.parquet").is_file()


def test_the_user_s_packages_stay_the_user_s(installed: Installed) -> None:
    code = f"import importlib\nfor n in {OWN!r}: print(importlib.import_module(n).OWNER)"
    assert installed.python(code).splitlines() == ["the user"] * len(OWN)
    elsewhere = installed.python(
        "import importlib.util, os, sys; sys.path.remove('')\n"
        f"print([n for n in {OWN!r} if importlib.util.find_spec(n)])"
    )
    assert elsewhere == "[]", "a generic name was installed"


def test_recipes_marker_and_licence_are_installed(installed: Installed) -> None:
    found = installed.python(
        "from importlib.resources import files\n"
        "print(*sorted(p.name for p in files('pyrite.configs').iterdir()))\n"
        "print(files('pyrite').joinpath('py.typed').is_file())\n"
        "print(files('pyrite.configs').joinpath('stdlib.yaml').read_text().count('stdlib'))"
    )
    recipes, typed, mentions = found.splitlines()
    wanted = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    assert wanted <= set(recipes.split())
    assert (typed, mentions != "0") == ("True", True)
    (licence,) = installed.home.glob("lib/python*/site-packages/pyrite-*.dist-info/licenses/*")
    assert licence.read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")

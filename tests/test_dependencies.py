"""Every library that the code imports is asked for by name, not brought along by another."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"].values()
# both install the module faiss
SAME = {"faiss-gpu": "faiss-cpu"}


def canonical(requirement: str) -> str:
    """The name that two spellings of a distribution share."""
    name = re.split(r"[^\w.-]", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def imports_of(source: str) -> Iterator[str]:
    """Top names of all absolute imports, those inside of functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def imported() -> dict[str, str]:
    """Each foreign module, and a file that imports it."""
    found: dict[str, str] = {}
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for name in imports_of(path.read_text("utf-8")):
            if name not in sys.stdlib_module_names:
                found.setdefault(name, path.relative_to(ROOT).as_posix())
    return found


def asked_for() -> set[str]:
    project = PROJECT["project"]
    # what only developers install is no answer for a user
    extras = {k: v for k, v in project["optional-dependencies"].items() if k not in ("dev", "docs")}
    lists = [project["dependencies"], *extras.values()]
    return {canonical(requirement) for requirements in lists for requirement in requirements}


@pytest.mark.parametrize(("module", "path"), sorted(imported().items()))
def test_an_imported_library_is_a_dependency_or_an_extra(module: str, path: str) -> None:
    names = {canonical(name) for name in metadata.packages_distributions().get(module, [module])}
    assert {SAME.get(name, name) for name in names} & asked_for(), f"{path} imports {module}"


def test_imports_in_functions_and_of_submodules_are_seen() -> None:
    source = "from .own import x\nimport a.b, c\ndef f():\n    from d.e import g\n"
    assert sorted(imports_of(source)) == ["a", "c", "d"]
    assert imported()["torch"]
    assert canonical("Faiss_cpu>=1.10,<2") == "faiss-cpu"
    assert "hypothesis" not in asked_for()

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]
PACKAGE_DIR: dict[str, str] = SETUPTOOLS["package-dir"]

CORE_AND_INDEXES = frozenset({"core", "indexes"})
ALLOWED: dict[str, frozenset[str]] = {
    "core": frozenset(),
    "indexes": frozenset({"core"}),
    "miner": CORE_AND_INDEXES,
    "eval": CORE_AND_INDEXES,
    "trainers": CORE_AND_INDEXES | {"miner", "eval"},
    "configs": frozenset(),
}
TOPS = frozenset({"pyrite", *ALLOWED})
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def packages_on_disk(root: Path) -> list[str]:
    found = []
    for package, folder in PACKAGE_DIR.items():
        for init in (root / folder).rglob("__init__.py"):
            inside = init.parent.relative_to(root / folder).parts
            found.append(".".join((package, *inside)))
    return sorted(found)


def modules() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Each library file with the dotted package it belongs to."""
    for package, folder in PACKAGE_DIR.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, (*package.split("."), *path.relative_to(ROOT / folder).parts[:-1])


def import_faults(source: str, package: tuple[str, ...]) -> list[str]:
    """What the imports of a module in `package` do that the layering forbids."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in TOPS:
                    faults.append(f"{node.lineno}: absolute import of {alias.name}")
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            if (node.module or "").split(".")[0] in TOPS:
                faults.append(f"{node.lineno}: absolute import from {node.module}")
        elif isinstance(node, ast.ImportFrom):
            faults.extend(f"{node.lineno}: {fault}" for fault in relative_faults(node, package))
    return faults


def relative_faults(node: ast.ImportFrom, package: tuple[str, ...]) -> Iterator[str]:
    if node.level > len(package):
        yield "relative import above the package"
        return
    base = package[: len(package) - node.level + 1]
    inside = (node.module or "").split(".") if node.module else []
    for alias in node.names:
        target = (*base, *inside, alias.name)[1]
        # the verbs stand above all layers
        if (
            len(package) > 1
            and package[1] != "verbs"
            and target not in ALLOWED[package[1]] | {package[1]}
        ):
            yield f"{package[1]} imports {target}"


def test_every_package_on_disk_is_listed_for_the_wheel() -> None:
    assert packages_on_disk(ROOT) == sorted(SETUPTOOLS["packages"])


def test_no_folder_with_python_files_is_forgotten() -> None:
    mapped = {(ROOT / folder).resolve() for folder in PACKAGE_DIR.values()}
    for folder in ALLOWED:
        assert (ROOT / folder).resolve() in mapped
    for path, _ in modules():
        assert (path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"


def test_an_unlisted_package_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "core" / "extra").mkdir(parents=True)
    (tmp_path / "core" / "extra" / "__init__.py").touch()
    assert packages_on_disk(tmp_path) == ["pyrite.core.extra"]


@pytest.mark.parametrize(
    ("path", "package"),
    list(modules()),
    ids=lambda v: v.name if isinstance(v, Path) else ".".join(v),
)
def test_imports_only_go_down(path: Path, package: tuple[str, ...]) -> None:
    assert import_faults(path.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("pyrite.core", "from ..indexes.flat import FlatIndex"),
        ("pyrite.core", "from .. import miner"),
        ("pyrite.core", "def f():\n    from ..eval import measures"),
        ("pyrite.indexes", "from ..miner.mine import mine"),
        ("pyrite.miner", "from ..eval.measures import x"),
        ("pyrite.eval", "from ..miner import filters"),
        ("pyrite.trainers", "from ..cli import main"),
        ("pyrite.miner.deep", "from ...trainers import fit"),
        ("pyrite.configs", "from ..core import config"),
        ("pyrite.core", "import pyrite.core.store"),
        ("pyrite.core", "import numpy, core.store"),
        ("pyrite.miner", "from pyrite.core import store"),
        ("pyrite.miner", "from core.store import Manifest"),
        ("pyrite", "from pyrite.core import store"),
        ("pyrite.core", "from ...outside import x"),
    ],
)
def test_a_planted_violation_is_found(package: str, source: str) -> None:
    assert len(import_faults(source, tuple(package.split(".")))) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("pyrite.core", "from .store import Manifest\nfrom . import digest\nimport numpy"),
        ("pyrite.trainers", "from ..miner.mine import mine\nfrom .. import eval"),
        ("pyrite.miner.deep", "from ..filters import x\nfrom ...core import ids"),
        ("pyrite", "from .miner.mine import mine\nfrom . import core"),
    ],
)
def test_allowed_imports_are_not_faults(package: str, source: str) -> None:
    assert import_faults(source, tuple(package.split("."))) == []


def test_tests_import_the_library_under_its_own_name() -> None:
    # `import core.store` would load a second copy whose classes are not the library's
    for path in sorted((ROOT / "tests").rglob("*.py")):
        faults = import_faults(path.read_text(encoding="utf-8"), ("tests",))
        assert [f for f in faults if "pyrite" not in f] == [], path


def test_files_and_functions_stay_short() -> None:
    long = []
    files = [path for path, _ in modules()]
    for path in [*files, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        source = path.read_text(encoding="utf-8")
        lines = source.count("\n")
        if lines > MAX_FILE_LINES:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert long == []

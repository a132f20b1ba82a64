"""A toy dataset, a tiny model and a configuration on disk, and the command line around them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import toy_dataset
from pyrite.__main__ import main
from tiny_model import tiny_model

SCRIPT = Path(sys.executable).parent / "pyrite"
_COLOURS = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS")


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines that a person would read as our error."""
        return [line for line in self.err.split("\n") if line.startswith("pyrite: error: ")]


def write_setup(folder: Path, documents: int = 40, queries: int = 20, **changes: Any) -> Path:
    """Data, model and `config.yaml` below `folder`; returns the configuration's path."""
    toy_dataset(folder / "data", documents, queries)
    tiny_model(folder / "tiny")
    return write_config(folder, folder, **changes)


def write_config(folder: Path, home: Path, **changes: Any) -> Path:
    """`folder/config.yaml` for data and cache in `folder`, and model and runs in `home`."""
    settings: dict[str, Any] = {
        "name": "toy",
        "runs_dir": str(home / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(folder / "data")},
        "encoder": {"model": str(home / "tiny" / "model"), "max_length": 32},
        "retrieve": {"depth": 20},
        "sampler": {"name": "topk", "n": 2},
        "train": {"steps": 2, "batch_size": 4, "save_every": 1},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**settings, **changes}), encoding="utf-8")
    return path


def in_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str
) -> Outcome:
    """Run `pyrite` in this process; any exception but SystemExit is the test's failure."""
    monkeypatch.setattr(sys, "argv", ["pyrite", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    captured = capfd.readouterr()
    code = end.value.code
    assert code is None or isinstance(code, int)
    return Outcome(code or 0, captured.out, captured.err)


def in_subprocess(
    command: Sequence[str | Path],
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a command as a user would, without colours and without a network."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**plain_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def plain_environment() -> dict[str, str]:
    """This environment, without what colours or reflows a help text."""
    kept = {name: value for name, value in os.environ.items() if name not in _COLOURS}
    return {**kept, "HF_HUB_OFFLINE": "1", "TERM": "dumb", "NO_COLOR": "1"}


def snapshot(folder: Path) -> dict[str, bytes]:
    """Bytes of every file below `folder`."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

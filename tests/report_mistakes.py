"""Mistakes about the run that a report is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mistake_case import Case


def folder_with(*inside: str) -> Callable[[Path], object]:
    """Puts a folder in the place of the file that is named as the run."""

    def spoil(folder: Path) -> None:
        (folder / "config.yaml").unlink()
        for name in inside:
            (folder / "config.yaml" / name).mkdir(parents=True)

    return spoil


def report_cases() -> dict[str, Case]:
    run = "TMP/config.yaml"
    return {
        "report of a file": Case((f"{run}: no such run", "name its folder"), verb="report"),
        "report of any folder": Case(
            (f"{run}: no run of Pyrite", "<runs_dir>/<name>"),
            spoil=folder_with("data"),
            verb="report",
        ),
        "report of an unfinished run": Case(
            (f"{run}: nothing is finished", "negatives, training begun", "pyrite mine", "again"),
            spoil=folder_with("negatives", "models"),
            verb="report",
        ),
    }

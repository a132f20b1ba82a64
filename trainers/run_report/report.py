"""The verb `report`: everything that a run's folder says, on one page that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...core.errors import PyriteError
from ...core.store import write_bytes
from .audit_part import audit_part
from .cost_part import cost_part
from .made_part import NAME as MADE_TEXTS
from .made_part import made_part, made_samples
from .margin_part import margin_part
from .mined_rows import Listed, MinedRows, listed_of
from .mining_part import mining_part
from .page import Group, Page, html
from .part import Part
from .refresh_part import refresh_part
from .relabel_part import relabel_part, relabel_samples
from .run_folder import KNOWN, RunFolder
from .samples import FIRST, cards_of
from .shown import count
from .training_part import evaluation_part, training_part

FILE = "report.html"
QUERIES = 50
MOST_QUERIES = 2000


@dataclass(frozen=True, slots=True)
class Reported:
    """A written page, the numbers on it by part, and what it could not show."""

    path: Path
    numbers: dict[str, Any]
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {**self.numbers, "missing": list(self.missing)}


def report(run: Path, queries: int = QUERIES, with_audit: bool = True) -> Reported:
    """Write `report.html` into the folder of a run, from what is finished there.

    `queries` are sampled by the hashes of their ids, at most `MOST_QUERIES`, so that the page stays
    one that a browser opens. What is not there is left out and named. The same run gives the same
    bytes. Raises PyriteError if there is no finished part, or if one was changed since.
    """
    if not 0 <= queries <= MOST_QUERIES:
        raise PyriteError(f"--queries={queries}: from 0 to {MOST_QUERIES} fit on a page")
    found = RunFolder.open(run)
    parts, groups, missing = _collect(found, queries, with_audit)
    page = Page(_name(found), _facts(found), parts, groups, missing, _settings(found))
    path = run / FILE
    write_bytes(path, html(page).encode())
    return Reported(path, {part.name: part.numbers for part in parts}, tuple(missing))


def _collect(
    run: RunFolder, queries: int, with_audit: bool
) -> tuple[list[Part], list[Group], list[str]]:
    """All parts, all samples, and a sentence for each that is missing."""
    parts: list[Part] = []
    groups: list[Group] = []
    absent = [name for name in KNOWN if name not in run.manifests]
    # few runs make texts
    missing = [_missing(run, n) for n in absent if n != MADE_TEXTS or n in run.begun]
    if "negatives" in run.manifests:
        _add_mining(run, queries, parts, groups, missing)
    if "training" in run.manifests:
        parts.append(training_part(run))
    refreshed = refresh_part(run)
    if refreshed is not None:
        parts.append(refreshed)
    else:
        missing.append("Refreshed negatives: no log (refresh.mode=off, or no training yet).")
    if "evaluation" in run.manifests:
        parts.append(evaluation_part(run))
    if "relabelling" in run.manifests:
        parts.append(relabel_part(run))
        cards, notes = relabel_samples(run, queries)
        groups.append(Group("judged", "Judged pairs", notes, cards))
    if MADE_TEXTS in run.manifests:
        parts.append(made_part(run))
        cards, notes = made_samples(run, queries)
        groups.append(Group("made-texts", "Made texts", notes, cards))
    if "negatives" in run.manifests:
        why_not = run.texts if isinstance(run.texts, str) else "left out by --no-audit"
        if with_audit and not isinstance(run.texts, str):
            parts.append(audit_part(run))
        else:
            missing.append(f"Audit: {why_not}.")
    parts.append(cost_part(run, refreshed))
    return parts, groups, missing


def _add_mining(
    run: RunFolder, queries: int, parts: list[Part], groups: list[Group], missing: list[str]
) -> None:
    home, manifest = run.home("negatives"), run.manifests["negatives"]
    rows = MinedRows.read(home)
    listed = listed_of(run.config, manifest, home, rows)
    texts = run.texts
    known = None if isinstance(texts, str) else texts
    parts.append(mining_part(run.config, manifest, rows, known))
    parts.append(margin_part(run.config, rows, listed))
    if isinstance(listed, str):
        missing.append(f"Why candidates were rejected: {listed}.")
    if isinstance(texts, str):
        missing.append(f"Sampled queries: {texts}.")
        return
    there = listed if isinstance(listed, Listed) else None
    cards = cards_of(run, rows, texts, there, queries)
    notes = [f"{count(len(cards))} of {count(len(rows))} rows, those with the smallest hashes."]
    if there is not None:
        notes.append(f"Of each the first {FIRST} candidates are shown, and all that were drawn.")
    groups.append(Group("queries", "Sampled queries", notes, cards))


def _missing(run: RunFolder, name: str) -> str:
    verb = KNOWN[name][3]
    state = "begun and not finished" if name in run.begun else "not there"
    return f"{name.capitalize()}: {state}; {verb} makes it."


def _name(run: RunFolder) -> str:
    config = next(iter(run.manifests.values())).data["config"] if run.manifests else {}
    return str(config.get("name") or run.folder.resolve().name)


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    """What identifies the run; no path and no date, which the same run may have others of."""
    if not run.manifests:
        return []
    data = next(iter(run.manifests.values())).data
    config = data["config"]
    facts = [("seed", str(data.get("seed")))]
    if "dataset" in config:
        facts.append(("dataset", config["dataset"]["path"]))
    if "encoder" in config:
        facts.append(("model", config["encoder"]["model"]))
    if "key" in data:
        facts.append(("negatives", str(data["key"])[:12]))
    facts += [(name, version) for name, version in data["versions"].items() if name != "numpy"]
    return [(name, str(value)) for name, value in facts]


def _settings(run: RunFolder) -> str:
    """The configuration of the first finished part."""
    if not run.manifests:
        return ""
    config = next(iter(run.manifests.values())).data["config"]
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

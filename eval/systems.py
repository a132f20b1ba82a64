"""The systems and the datasets of one table, as the configuration names them."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.beir import check_split
from ..core.beir_names import find_folder
from ..core.dataset import EMBEDDED, members
from ..core.encoder import Encoder
from ..core.errors import PyriteError
from ..core.run import build_encoder
from ..indexes.run_file import check_run
from .config import LEXICAL, EvalConfig, ModelEntry

logger = logging.getLogger(__name__)

CQADUPSTACK = frozenset(
    "android english gaming gis mathematica physics programmers stats tex unix webmasters"
    " wordpress".split()
)


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table: a label, a name for folders, and the configuration that makes it."""

    label: str
    folder: str
    config: EvalConfig

    def encoder(self) -> Encoder | None:
        """The encoder of a dense system; None for words and for runs."""
        return build_encoder(self.config) if self.config.eval.source.kind == "dense" else None


@dataclass(frozen=True, slots=True)
class Place:
    """One dataset of the table, and where below the run's folder; a `group` is averaged too."""

    label: str
    folder: Path
    group: str | None
    path: str
    split: str


def find_systems(config: EvalConfig) -> list[System]:
    """Models, then runs; without any the one that `encoder` and `eval.source` say.

    Raises PyriteError for two of one name, and for a run that is not there.
    """
    section = config.eval
    found = [_of_model(config, entry) for entry in section.models]
    for path in section.runs:
        check_run(Path(path))
        found.append((path, _with_source(config, {"kind": "run", "path": path})))
    if not found:
        dense = section.source.kind == "dense"
        found = [(config.encoder.model if dense else section.source.label, config)]
    labels = [label for label, _ in found]
    _refuse_twice(labels, "systems", "give one of eval.models a name, as {model: ..., name: ...}")
    names = _folders(labels)
    return [System(label, names[label], one) for label, one in found]


def find_places(config: EvalConfig) -> list[Place]:
    """The datasets, those below a folder of folders one by one.

    Raises PyriteError for one that is not there or has no such split.
    """
    plain = config.dataset.eval_split
    given = [(e.path, e.split or plain) for e in config.eval.datasets]
    given = given or [(config.dataset.path, plain)]
    labels = _dataset_labels(given)
    _refuse_twice(labels, "datasets", "name each path and split once in eval.datasets")
    names = _folders(labels)
    found = []
    for label, (path, split) in zip(labels, given, strict=True):
        inside = members(path, config.cache)
        _warn_of_missing(label, inside)
        for inner, folder in inside.items():
            if folder != EMBEDDED and (inner or config.eval.datasets):
                check_split(find_folder(folder, config.cache), split)
            below = Path(names[label], inner)
            whole = f"{label}/{inner}" if inner else label
            found.append(Place(whole, below, label if inner else None, folder, split))
    return found


def _of_model(config: EvalConfig, entry: ModelEntry) -> tuple[str, EvalConfig]:
    if entry.model in LEXICAL:
        return entry.label, _with_source(config, {"kind": entry.model})
    dense = _with_source(config, {"kind": "dense"})
    encoder = entry.encoder(config.encoder)
    return entry.label, dense.model_copy(update={"encoder": encoder})


def _with_source(config: EvalConfig, changes: dict[str, Any]) -> EvalConfig:
    changes = {"name": None, "path": None, **changes}
    source = config.eval.source.model_copy(update=changes)
    return config.model_copy(update={"eval": config.eval.model_copy(update={"source": source})})


def _dataset_labels(given: Sequence[tuple[str, str]]) -> list[str]:
    """The last part of each path; the whole path, then the split too, where that is not enough."""
    labels = [path if path == EMBEDDED else Path(path).name or path for path, _ in given]
    paths = [path for path, _ in given]
    same = list(zip(paths, labels, strict=True))
    labels = [
        path if len({other for other, name in same if name == label}) > 1 else label
        for path, label in same
    ]
    return [
        f"{label}-{split}" if labels.count(label) > 1 else label
        for label, (_, split) in zip(labels, given, strict=True)
    ]


def _refuse_twice(labels: Sequence[str], what: str, remedy: str) -> None:
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise PyriteError(f"two {what} are called {twice!r}; {remedy}")


def _warn_of_missing(label: str, inside: dict[str, str]) -> None:
    missing = CQADUPSTACK - inside.keys()
    if label.lower().startswith("cqadupstack") and "" not in inside and missing:
        logger.warning(
            "%s: %d of its twelve forums are not there (%s): the mean is over %d",
            label,
            len(missing),
            ", ".join(sorted(missing)),
            len(inside),
        )


def _folders(labels: Sequence[str]) -> dict[str, str]:
    """A name that can be a folder's for each label, none twice."""
    names: dict[str, str] = {}
    for label in labels:
        name = fresh = re.sub(r"[^\w.-]+", "-", label).strip("-.")[-80:] or "system"
        number = 1
        while fresh in names.values():
            number += 1
            fresh = f"{name}-{number}"
        names[label] = fresh
    return names

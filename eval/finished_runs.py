"""Finished runs named on the command line, as systems that can be compared."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.store import Manifest
from .evaluate_all import KIND, TABLE
from .identical_ids import drops_identical
from .measures import F64
from .results import PER_QUERY, QUERY_ID, Evaluation, read_evaluation

logger = logging.getLogger(__name__)

TRAINED = "results"  # the kind of a manifest that `pyrite train` writes


@dataclass(frozen=True, slots=True)
class Measured:
    """One system's finished evaluation on one dataset.

    `name` is the system's within its folder, "" for a folder of one. `data` are the digests of what
    was asked and judged, `config` is the run's configuration, and `ranking` the file of what was
    ranked, None where none was kept (`pyrite train`).
    """

    name: str
    folder: Path
    evaluation: Evaluation
    data: dict[str, str]
    config: dict[str, Any]
    ranking: Path | None

    @property
    def dataset(self) -> str:
        """The dataset and split, for people."""
        section = self.config["dataset"]
        return f"{section['path']}, {section['eval_split']}"

    @property
    def drops_identical(self) -> bool:
        """Whether results with the query's own id were taken out."""
        how = self.config.get("eval", {}).get("identical_ids", "auto")
        return drops_identical(how, self.config["dataset"]["path"])


@dataclass(frozen=True, slots=True)
class Systems:
    """Systems over the same queries: for each name and measure, values float64 [S, Q].

    S are training seeds, one row each; `seeds` has the evaluations of each, one list for each
    dataset. With several datasets `strata_Q` int64 [Q] numbers each query's, and the mean over
    queries is that of the datasets' means.
    """

    values: dict[str, dict[str, F64]]
    runs: dict[str, list[list[Measured]]]
    query_ids: list[str]
    strata_Q: I64 | None

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets, for people."""
        return [of_data[0].dataset for of_data in next(iter(self.runs.values()))]

    def one_dataset(self, feature: str) -> None:
        """Raise PyriteError, naming `feature`, if there are several datasets."""
        if self.strata_Q is not None:
            raise PyriteError(
                f"{feature} is for runs on one dataset, and these are on {len(self.datasets)};"
                " compare the runs of one at a time"
            )


def read_measured(folder: Path) -> list[Measured]:
    """The systems of a folder that `pyrite eval` or `pyrite train` has finished.

    Raises PyriteError for a folder without results, damaged ones, or those of an older version.
    """
    if not folder.is_dir():
        raise PyriteError(f"{folder}: no such folder; name the folder of a finished run")
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.data.get("kind") == TRAINED:
        return _trained(folder, manifest)
    home = folder / "eval" if (folder / "eval").is_dir() else folder
    manifest = Manifest.read(home)
    if manifest is not None and manifest.data.get("kind") == KIND:
        return _of_table(home, manifest)
    return [_evaluated("", home)]


def _evaluated(name: str, folder: Path) -> Measured:
    found = read_evaluation(folder)
    config = (Manifest.read(found.folder) or Manifest({})).data["config"]
    ranking = found.ranking if found.ranking.is_file() else None
    data = found.facts["digests"]
    return Measured(name, found.folder, found.evaluation, data, config, ranking)


def _of_table(home: Path, manifest: Manifest) -> list[Measured]:
    """Several systems or datasets of one `pyrite eval`; they may have been moved together."""
    if not manifest.intact(home):
        raise PyriteError(f"{home}: files were changed; run pyrite eval again")
    config = manifest.data["config"]
    written = Path(config["runs_dir"], config["name"], "eval")
    rows = json.loads((home / TABLE).read_text("utf-8"))["rows"]
    own = [row for row in rows if row["folder"] is not None]
    return [_evaluated(r["system"], home / Path(r["folder"]).relative_to(written)) for r in own]


def _trained(folder: Path, manifest: Manifest) -> list[Measured]:
    data = manifest.data["inputs"].get("data")
    if data is None or not manifest.intact(folder):
        raise PyriteError(
            f"{folder}: the results are of an older version or their files were changed; run"
            " pyrite train again, what is trained is kept"
        )
    table = pq.read_table(folder / PER_QUERY)
    ids = table.column(QUERY_ID).to_pylist()
    systems: dict[str, dict[str, F64]] = {}
    for column in table.column_names:
        system, _, measure = column.rpartition(" ")
        if column != QUERY_ID:
            values = np.asarray(table.column(column).to_numpy(), dtype=np.float64)
            systems.setdefault(system, {})[measure] = values
    return [
        Measured(name, folder, Evaluation(ids, values), data, manifest.data["config"], None)
        for name, values in systems.items()
    ]


def collect(given: Sequence[str]) -> Systems:
    """Systems of arguments of the form `[NAME=]FOLDER[,FOLDER...]`.

    The folders of one argument are the same experiment: with other seeds where the data are the
    same, on another dataset where they are not. Raises PyriteError unless all systems were measured
    on the same queries, judgements and corpora, with at least one measure in common.
    """
    arguments = [_Argument.of(one) for one in given]
    several = len(arguments) > 1
    systems: dict[str, list[Measured]] = {}
    for argument in arguments:
        for name, measured in argument.systems(several).items():
            if name in systems:
                raise PyriteError(
                    f"two systems are called {name!r}; give them names, as NAME={argument.paths[0]}"
                )
            systems[name] = measured
    if len(systems) < 2:
        raise PyriteError(
            f"{', '.join(given)}: one system, and a comparison needs two; name another run"
        )
    runs = {name: _by_data(measured) for name, measured in systems.items()}
    _check_same(runs)
    return _joined(runs)


@dataclass(frozen=True, slots=True)
class _Argument:
    name: str | None
    paths: list[Path]

    @classmethod
    def of(cls, given: str) -> _Argument:
        # a folder may have = and , in its name
        if Path(given).is_dir():
            return cls(None, [Path(given)])
        name, equals, rest = given.partition("=")
        if equals and not name:
            raise PyriteError(f"{given!r}: no name before =; expected NAME=FOLDER")
        paths = [Path(part) for part in (rest if equals else given).split(",")]
        for path in paths:
            if [p.resolve() for p in paths].count(path.resolve()) > 1:
                raise PyriteError(f"{given}: {path} stands there twice; a run is one seed")
        return cls(name if equals else None, paths)

    def systems(self, several: bool) -> dict[str, list[Measured]]:
        """By name; `several`: there are other arguments, so a folder's systems bear its name."""
        first = self.paths[0].resolve()
        own = self.name or (first.parent.name if first.name == "eval" else first.name)
        found: dict[str, list[Measured]] = {}
        for path in self.paths:
            for one in read_measured(path):
                inside = f"{own}/{one.name}" if several or self.name else one.name
                found.setdefault(inside if one.name else own, []).append(one)
        return found


def _by_data(measured: Sequence[Measured]) -> list[list[Measured]]:
    """The evaluations on each dataset, which must be equally many."""
    found: dict[tuple[tuple[str, str], ...], list[Measured]] = {}
    for one in measured:
        found.setdefault(tuple(sorted(one.data.items())), []).append(one)
    groups = list(found.values())
    if len({len(group) for group in groups}) > 1:
        counts = ", ".join(f"{len(group)} on {group[0].dataset}" for group in groups)
        raise PyriteError(
            f"{measured[0].folder}: the runs of one system must have equally many seeds on every"
            f" dataset, not {counts}"
        )
    return groups


def _check_same(runs: dict[str, list[list[Measured]]]) -> None:
    names = list(runs)
    first = runs[names[0]]
    wanted = [group[0] for group in first]
    for name in names[1:]:
        others = {tuple(sorted(group[0].data.items())): group for group in runs[name]}
        for one in wanted:
            if tuple(sorted(one.data.items())) in others and len(others) == len(wanted):
                continue
            other = runs[name][0][0]
            unlike = [k for k in one.data if one.data[k] != other.data.get(k)] or ["datasets"]
            raise PyriteError(
                f"{other.folder} and {one.folder} cannot be compared: they differ in their"
                f" {', '.join(unlike)} ({other.dataset}; {one.dataset}); evaluate both on the same"
                " data"
            )
        # the same datasets in the same order
        runs[name] = [others[tuple(sorted(one.data.items()))] for one in wanted]
    for at, one in enumerate(wanted):
        for other in (other for groups in runs.values() for other in groups[at]):
            if other.evaluation.query_ids != one.evaluation.query_ids:
                raise PyriteError(
                    f"{other.folder} and {one.folder} measured other queries of the same data, as"
                    " eval.convention=trec_eval does where one finds nothing; evaluate both with"
                    " eval.convention=pyrite"
                )
            if other.drops_identical != one.drops_identical:
                dropped, kept = (one, other) if one.drops_identical else (other, one)
                raise PyriteError(
                    f"{dropped.folder} was measured without results of the query's own id and"
                    f" {kept.folder} with them; evaluate both with the same eval.identical_ids"
                )


def _joined(runs: dict[str, list[list[Measured]]]) -> Systems:
    every = [one for groups in runs.values() for group in groups for one in group]
    first = every[0].evaluation
    measures = [m for m in first.values if all(m in one.evaluation.values for one in every)]
    left = dict.fromkeys(m for one in every for m in one.evaluation.values if m not in measures)
    if not measures:
        raise PyriteError(
            f"no measure is in all of these runs ({', '.join(left)}); set eval.measures alike and"
            " evaluate again"
        )
    if left:
        logger.warning("measures that not all runs have are left out: %s", ", ".join(left))
    values = {name: {m: _stacked(groups, m) for m in measures} for name, groups in runs.items()}
    groups = next(iter(runs.values()))
    sizes = [len(group[0].evaluation.query_ids) for group in groups]
    ids = [query for group in groups for query in group[0].evaluation.query_ids]
    strata = np.repeat(np.arange(len(sizes)), sizes) if len(sizes) > 1 else None
    return Systems(values, runs, ids, strata)


def _stacked(groups: Sequence[Sequence[Measured]], measure: str) -> F64:
    """Values [S, Q] of the seeds of each dataset, dataset after dataset."""
    rows = [np.stack([one.evaluation.values[measure] for one in group]) for group in groups]
    return np.concatenate(rows, axis=1)

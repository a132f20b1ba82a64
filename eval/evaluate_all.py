"""Several systems on several datasets, and tasks of mteb: one table."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.encoder import Encoder
from ..core.engine.config import anywhere
from ..core.errors import MissingExtraError, PyriteError
from ..core.run import check_folders
from ..core.store import Manifest, discard, write_bytes, write_json
from .config import EvalConfig
from .evaluate import measure
from .measures import with_judged
from .search import Searched, query_encoder
from .systems import Place, System, find_places, find_systems
from .table import Results, Row

if TYPE_CHECKING:
    from .mteb_tasks import TaskScore

logger = logging.getLogger(__name__)

TABLE, MARKDOWN, MTEB = "table.json", "table.md", "mteb"
KIND = "evaluations"


def evaluate_all(config: EvalConfig) -> Results:
    """Every configured system on every configured dataset and task of mteb.

    One system on one dataset is kept in `<runs_dir>/<name>/eval`; of several each is kept in
    `<dataset>/<system>` below it. `table.json`, `table.md` and mteb's own files lie there too.
    Raises PyriteError, before anything is encoded, for a dataset, a task or a package that is not
    there.
    """
    check_folders(config)
    section = config.eval
    _check_packages(config)
    tasks = _tasks(config)
    systems = find_systems(config)
    ours = not tasks or section.datasets or "path" in config.dataset.model_fields_set
    places = find_places(config) if ours else []
    home, measures = config.run_folder / "eval", with_judged(section.measures)
    rows: list[Row] = []
    scores: list[TaskScore] = []
    alone = len(systems) * len(places) == 1 and places[0].group is None
    for system in systems:
        encoder = system.encoder()
        for place in places:
            folder = home if alone else home / place.folder / system.folder
            rows += _measure(system, place, encoder, folder, home / MTEB)
        rows += _group_means(rows, system.label, measures)
        if tasks:
            scores += _on_tasks(system, encoder, tasks, home / MTEB)
    order = list(dict.fromkeys(row.dataset for row in rows))
    rows.sort(key=lambda row: order.index(row.dataset))
    title = f"{places[0].path}, {places[0].split}" if alone else None
    results = Results(measures, rows, scores, title)
    _write(home, results, config, alone)
    return results


def _measure(
    system: System, place: Place, encoder: Encoder | None, folder: Path, mteb_folder: Path
) -> Iterator[Row]:
    config = system.config
    dataset = config.dataset.model_copy(update={"path": place.path, "eval_split": place.split})
    config = config.model_copy(update={"dataset": dataset})
    found, evaluation = measure(config, encoder, folder)
    split, queries = config.dataset.eval_split, len(evaluation.query_ids)
    if evaluation.missing:
        logger.warning(
            "%s on %s: %d queries have no result", system.label, place.label, evaluation.missing
        )
    counts = (queries, evaluation.missing, found.identical)
    yield Row(
        place.label,
        system.label,
        split,
        dict(evaluation.means()),
        *counts,
        folder=str(folder),
        group=place.group,
    )
    for tool in config.eval.also:
        means = _by(tool, found, system.label, place.label, split, mteb_folder, config)
        yield Row(
            place.label, system.label, split, dict(means), *counts, by=tool, group=place.group
        )


def _by(
    tool: str,
    found: Searched,
    system: str,
    dataset: str,
    split: str,
    folder: Path,
    config: EvalConfig,
) -> dict[str, float]:
    if tool == "beir":
        from .with_beir import by_beir

        return by_beir(found, config.eval.measures)
    from .local_task import by_mteb

    return by_mteb(found, config.eval.measures, system, dataset, split, folder)


def _group_means(rows: list[Row], system: str, measures: tuple[str, ...]) -> list[Row]:
    """The unweighted mean over the datasets of each group, as CQADupStack is reported."""
    out = []
    own = [row for row in rows if row.system == system and row.group is not None]
    for group, by in dict.fromkeys((row.group, row.by) for row in own):
        parts = [row for row in own if (row.group, row.by) == (group, by)]
        means = {}
        for name in measures:
            values = [row.means.get(name) for row in parts]
            known = [value for value in values if value is not None]
            means[name] = sum(known) / len(known) if len(known) == len(values) else None
        counts = (sum(r.queries for r in parts), sum(r.missing for r in parts))
        identical = sum(r.identical for r in parts)
        out.append(Row(str(group), system, None, means, *counts, identical, by))
    return out


def _tasks(config: EvalConfig) -> list[Any]:
    names, benchmarks = config.eval.mteb_tasks, config.eval.mteb_benchmarks
    if not names and not benchmarks:
        return []
    from .mteb_tasks import find_tasks

    return find_tasks(names, benchmarks)


def _on_tasks(
    system: System, encoder: Encoder | None, tasks: list[Any], folder: Path
) -> Iterator[TaskScore]:
    from .mteb_model import TaskEncoder, TaskSearch
    from .mteb_tasks import identical_rules, run_tasks

    config = system.config
    if config.eval.source.kind == "run":
        raise PyriteError(
            f"{system.label}: a run file cannot be searched with, and mteb's tasks need a system"
            " that can; name a model, or give the run with --data and no --mteb"
        )
    rules = identical_rules(tasks)
    how = config.eval.identical_ids
    drops = {name: how == "drop" if how != "auto" else rule for name, rule in rules.items()}
    asking = query_encoder(config, encoder) if encoder is not None else None
    kind = TaskEncoder if encoder is not None else TaskSearch
    model = kind(config, system.label, encoder, asking, drops)
    yield from run_tasks([(system.label, model)], tasks, folder)


def _check_packages(config: EvalConfig) -> None:
    section = config.eval
    tasks = bool(section.mteb_tasks or section.mteb_benchmarks)
    needs = {
        "mteb": "tasks of mteb" if tasks else "eval.also=[mteb]" if "mteb" in section.also else "",
        "beir": "eval.also=[beir]" if "beir" in section.also else "",
    }
    for package, feature in needs.items():
        if feature and importlib.util.find_spec(package) is None:
            raise MissingExtraError(feature, package, package)


def _write(home: Path, results: Results, config: EvalConfig, alone: bool) -> None:
    if not alone:
        discard(home)
    write_json(home / TABLE, results.as_json())
    write_bytes(home / MARKDOWN, results.markdown().encode())
    if alone:
        # the manifest there is the evaluation's own
        return
    Manifest.write(
        home,
        only=(TABLE, MARKDOWN),
        schema=1,
        kind=KIND,
        verb="eval",
        config=anywhere(config).model_dump(mode="json"),
        seed=config.seed,
        counts={"rows": len(results.rows), "mteb": len(results.tasks)},
    )

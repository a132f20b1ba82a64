"""Tasks and benchmarks of mteb by name, run with mteb's own evaluation and result files.

Importing this file needs the package `mteb`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mteb
from mteb.abstasks.aggregated_task import AbsTaskAggregate

from ..core.errors import PyriteError
from ..core.hub import offline_if_unreachable
from .mteb_model import TaskSearch


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One system on one task: the main score by mteb, None where it has none."""

    system: str
    task: str
    measure: str
    score: float | None


def find_tasks(names: Sequence[str], benchmarks: Sequence[str]) -> list[Any]:
    """The tasks of these names and of these benchmarks, each once.

    Raises PyriteError for a name that mteb does not know, with mteb's own guess.
    """
    found: dict[str, Any] = {}
    for name in names:
        task = _known(lambda n=name: mteb.get_task(n), "eval.mteb_tasks", name)
        found.setdefault(task.metadata.name, task)
    for name in benchmarks:
        benchmark = _known(lambda n=name: mteb.get_benchmark(n), "eval.mteb_benchmarks", name)
        for task in benchmark.tasks:
            found.setdefault(task.metadata.name, task)
    return list(found.values())


def _known(get: Any, key: str, name: str) -> Any:
    try:
        return get()
    except KeyError as error:
        told = str(error.args[0]).removeprefix("KeyError: ").strip()
        raise PyriteError(f"{key}: mteb says {told}") from error


def identical_rules(tasks: Iterable[Any]) -> dict[str, bool]:
    """Which tasks take out results with the query's own id, by mteb's own word."""
    return {t.metadata.name: bool(getattr(t, "ignore_identical_ids", False)) for t in _flat(tasks)}


def run_tasks(
    models: Iterable[tuple[str, TaskSearch]], tasks: Sequence[Any], folder: Path
) -> Iterator[TaskScore]:
    """Every model on every task; result files go below `folder` as mteb lays them out.

    What an earlier run finished is read from there. Raises PyriteError if a task's data cannot be
    loaded.
    """
    cache = mteb.ResultCache(folder)
    for label, model in models:
        for task in tasks:
            for part in _flat([task]):
                _evaluate(model, part, cache)
            (result,) = _results(model, task, cache, "only-missing")
            score = float(result.get_score())
            found = None if math.isnan(score) else score
            yield TaskScore(label, task.metadata.name, str(task.metadata.main_score), found)


def _flat(tasks: Iterable[Any]) -> Iterator[Any]:
    for task in tasks:
        if isinstance(task, AbsTaskAggregate):
            yield from _flat(task.metadata.tasks)
        else:
            yield task


def _evaluate(model: TaskSearch, task: Any, cache: Any) -> None:
    try:
        _results(model, task, cache, "only-cache")
    except ValueError:
        loaded = task.data_loaded
        _load(task)
        _results(model, task, cache, "only-missing")
        if not loaded:
            task.unload_data()


def _results(model: TaskSearch, task: Any, cache: Any, strategy: str) -> list[Any]:
    found = mteb.evaluate(
        model, task, cache=cache, overwrite_strategy=strategy, show_progress_bar=False
    )
    return list(found.task_results)


def _load(task: Any) -> None:
    """Load a task's data now: a failure here is the hub's, and a later one is ours."""
    if task.data_loaded:
        return
    offline_if_unreachable()
    try:
        task.load_data()
    # whatever the hub's client and the libraries below it raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PyriteError(
            f"task {task.metadata.name}: mteb cannot load {task.metadata.dataset['path']} from the"
            f" hub ({reason}); fill the hub's cache where there is a network, or give a folder in"
            " BEIR layout as --data FOLDER"
        ) from error

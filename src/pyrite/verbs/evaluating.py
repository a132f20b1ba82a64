"""Verbs that measure."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, app, complete_keys, load

_SHORTCUTS = {
    "retriever": "eval.source.kind",
    "data": "dataset.path",
    "split": "dataset.eval_split",
    "model": "encoder.model",
}
_SHORT = re.compile(rf"^({'|'.join(_SHORTCUTS)})(?==)")
_EVAL_HELP = "YAML configuration, overrides, or retriever=bm25s|lucene|dense data=PATH split=test"
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="folder, hub id, adapter, bm25s or lucene; may be repeated"),
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", help="BEIR folder or a name of BEIR's; may be repeated"),
]
Runs = Annotated[
    list[str] | None, typer.Option("--run", help="TREC run or run.parquet; may be repeated")
]
Tasks = Annotated[
    list[str] | None, typer.Option("--mteb", help="tasks of mteb by name: --mteb SciFact NFCorpus")
]
Benchmarks = Annotated[
    list[str] | None, typer.Option("--mteb-benchmark", help="'MTEB(eng, v2)'; may be repeated")
]
Also = Annotated[
    list[str] | None, typer.Option("--also", help="mteb or beir: their figures for the same")
]


def _further_tasks(given: list[str], tasks: list[str] | None) -> tuple[list[str], list[str]]:
    """`--mteb A B`: a word that is neither an override nor a YAML file is a task too."""
    more = [a for a in given if tasks and "=" not in a and not a.endswith((".yaml", ".yml"))]
    return [a for a in given if a not in more], [*(tasks or []), *more]


@app.command(name="eval")
def evaluate(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help=_EVAL_HELP, metavar="CONFIG|A.B=C", autocompletion=complete_keys),
    ] = None,
    models: Models = None,
    data: Data = None,
    runs: Runs = None,
    tasks: Tasks = None,
    benchmarks: Benchmarks = None,
    also: Also = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model or a retriever on the held-out split; nothing is trained.

    Several models, runs, datasets and tasks of mteb make one table.
    """
    from ..eval.evaluate_all import evaluate_all
    from ..trainers.run_config import TrainConfig

    given = [_SHORT.sub(lambda found: _SHORTCUTS[found[0]], a) for a in arguments or []]
    given, tasks = _further_tasks(given, tasks)
    options = {
        "models": models,
        "datasets": data,
        "runs": runs,
        "mteb_tasks": tasks,
        "mteb_benchmarks": benchmarks,
        "also": also,
    }
    more = [f"eval.{key}={json.dumps(names)}" for key, names in options.items() if names]
    if not arguments and not more:
        raise typer.BadParameter("name a CONFIG, or what to measure, as --model and --data")
    path = Path(given.pop(0)) if given and "=" not in given[0] else None
    results = evaluate_all(load(TrainConfig, path, [*given, *more]))
    if as_json:
        alone = len(results.rows) == 1 and not results.tasks and not more
        typer.echo(json.dumps(results.rows[0].means if alone else results.as_json()))
        return
    for table in results.rich():
        Console(width=max(116, Console().width)).print(table)

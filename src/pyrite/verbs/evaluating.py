"""Verbs that measure."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, app, load

_SHORTCUTS = {
    "retriever": "eval.source.kind",
    "data": "dataset.path",
    "split": "dataset.eval_split",
    "model": "encoder.model",
}
_SHORT = re.compile(rf"^({'|'.join(_SHORTCUTS)})(?==)")
_EVAL_HELP = "YAML configuration, overrides, or retriever=bm25s|lucene|dense data=PATH split=test"


@app.command(name="eval")
def evaluate(
    arguments: Annotated[list[str], typer.Argument(help=_EVAL_HELP, metavar="CONFIG|A.B=C")],
    as_json: AsJson = False,
) -> None:
    """Evaluate a model or a retriever on the held-out split; nothing is trained."""
    from ..eval.evaluate import evaluate as run
    from ..eval.report import systems_table
    from ..trainers.run_config import TrainConfig

    given = [_SHORT.sub(lambda found: _SHORTCUTS[found[0]], a) for a in arguments]
    path = Path(given.pop(0)) if given and "=" not in given[0] else None
    loaded = load(TrainConfig, path, given)
    evaluation = run(loaded)
    if as_json:
        typer.echo(json.dumps(evaluation.means()))
        return
    title = f"{loaded.dataset.path}, {loaded.dataset.eval_split}"
    dense = loaded.eval.source.kind == "dense"
    name = loaded.encoder.model if dense else loaded.eval.source.label
    Console().print(systems_table({name: evaluation}, [], title))

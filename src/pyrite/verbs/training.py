"""Verbs that train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, ConfigPath, Overrides, app, load


@app.command()
def train(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Fine-tune with in-batch and with mined negatives; compare both with the base model."""
    from ..trainers.run_config import TrainConfig

    loaded = load(TrainConfig, config, overrides)
    # torch takes seconds: a mistake in the configuration must not wait for it
    from ..eval.report import systems_table
    from ..trainers.processes import is_main
    from ..trainers.train import train as run

    trained = run(loaded)
    if not is_main():
        return
    if as_json:
        typer.echo(json.dumps(trained.results()))
        return
    title = f"held-out queries: {len(next(iter(trained.evaluations.values())).query_ids):,}"
    Console(width=max(116, Console().width)).print(
        systems_table(trained.evaluations, trained.comparisons, title)
    )
    if loaded.refresh.mode != "off":
        from ..trainers.refresh_home import RefreshHome
        from ..trainers.refresh_log import RefreshLog
        from ..trainers.refresh_report import refresh_table

        log = RefreshLog(RefreshHome.of(loaded.run_folder).folder)
        Console(width=max(116, Console().width)).print(refresh_table(log))
    typer.echo(f"wrote {trained.folder / 'results.json'}")


@app.command()
def refresh(
    run: Annotated[Path, typer.Argument(help="folder of a run that trains", metavar="RUN")],
    overrides: Overrides = None,
    once: Annotated[bool, typer.Option(help="end after the newest weights there are")] = False,
    as_json: AsJson = False,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Mine anew whenever a run in training publishes weights, until it has finished."""
    from ..trainers.refresher import refresh as work

    made = work(run, overrides or [], once, parent)
    if as_json:
        typer.echo(json.dumps({"run": str(run), "generations": made}))
        return
    typer.echo(f"made {made} generation{'s' * (made != 1)} of {run}")

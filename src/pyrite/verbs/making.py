"""The verb that has negatives written."""

from __future__ import annotations

import json

import typer
from rich.console import Console

from .app import AsJson, ConfigPath, DryRun, Overrides, app, as_dry_run, end_if_stopped, load


@app.command()
def make(
    config: ConfigPath,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have hard negatives written by a language model, and keep those that judges accept."""
    from ..miner.made.config import MakeConfig
    from ..miner.made.make import make as run
    from ..miner.made.report import made_table, spent_table
    from ..miner.relabel.report import estimate_table

    done = run(load(MakeConfig, config, as_dry_run(overrides, dry_run)))
    console = Console(width=max(110, Console().width))
    if as_json:
        typer.echo(json.dumps(done.as_json()))
    elif done.estimates:
        console.print(estimate_table(done.estimates))
    else:
        console.print(made_table(done))
        console.print(spent_table(done))
        if done.stopped is None:
            typer.echo(f"wrote {done.folder}")
    end_if_stopped(done.stopped)

"""The verb that has negatives written."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, ConfigPath, Overrides, app, load

_STOPPED = 3  # a budget is spent; the same command goes on


@app.command()
def make(
    config: ConfigPath,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="estimate calls, tokens and cost; write nothing")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have hard negatives written by a language model, and keep those that judges accept."""
    from ..miner.made.config import MakeConfig
    from ..miner.made.make import make as run
    from ..miner.made.report import made_table, spent_table
    from ..miner.relabel.report import estimate_table

    given = [*(overrides or []), *(["dry_run=true"] if dry_run else [])]
    done = run(load(MakeConfig, config, given))
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
    if done.stopped is not None:
        sys.stderr.write(f"pyrite: {done.stopped}\n")
        raise typer.Exit(_STOPPED)

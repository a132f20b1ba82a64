"""The verb for people's own verdicts."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, ConfigPath, Overrides, app, load


@app.command()
def review(
    config: ConfigPath,
    overrides: Overrides = None,
    reviewer: Annotated[str, typer.Option(envvar="USER", help="whose answers they are")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="every pair, not only what was left undecided")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="N random pairs, to compare judges with people")
    ] = None,
    most: Annotated[int, typer.Option(metavar="N", help="pairs of one sitting")] = 1000,
    blind: Annotated[
        bool | None,
        typer.Option(
            "--blind/--open", help="judges' verdicts only after the answer; default with --sample"
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="port of this machine; 0: any free one")] = 0,
    write: Annotated[
        Path | None, typer.Option(metavar="OUT.html", help="write a page that needs no server")
    ] = None,
    read: Annotated[
        Path | None, typer.Option(metavar="FILE", help="take the answers of a written page")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a person the pairs that the judges left undecided, and keep the answers."""
    from ..miner.relabel.config import RelabelConfig
    from ..miner.relabel.report import agreement_table
    from ..miner.relabel.review import review as verb
    from ..miner.relabel.review.queue import Choice

    settings = load(RelabelConfig, config, overrides)
    verb.check_way(port, write, read)
    # standard output belongs to the result
    say = partial(typer.echo, err=as_json)
    if read is not None:
        done = verb.read_answers(settings, read)
    else:
        choice = Choice(reviewer.strip(), every, sample, most, settings.seed)
        hidden = sample is not None if blind is None else blind
        if write is not None:
            verb.write_page(settings, choice, hidden, write, say)
            typer.echo(json.dumps({"wrote": str(write)}) if as_json else f"wrote {write}")
            return
        done = verb.review(settings, choice, hidden, port, say)
    if as_json:
        typer.echo(json.dumps(done.as_json()))
        return
    typer.echo(done.sentence())
    if done.people:
        Console(width=max(110, Console().width)).print(
            agreement_table([pair.as_json() for pair in done.people])
        )

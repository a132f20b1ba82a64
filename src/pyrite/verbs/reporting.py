"""The verb that shows a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .app import AsJson, app

_Queries = Annotated[int, typer.Option(min=0, max=2000, help="sampled queries on the page")]
_Audit = Annotated[bool, typer.Option("--audit/--no-audit", help="audit the negatives too")]


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")],
    queries: _Queries = 50,
    with_audit: _Audit = True,
    as_json: AsJson = False,
) -> None:
    """Write RUN/report.html: scores, reasons, refreshes, samples, audit and cost on one page."""
    from ..trainers.run_report.report import report as write

    done = write(run, queries, with_audit)
    if as_json:
        typer.echo(json.dumps(done.as_json()))
        return
    for sentence in done.missing:
        typer.echo(f"left out: {sentence}")
    typer.echo(f"wrote {done.path}")

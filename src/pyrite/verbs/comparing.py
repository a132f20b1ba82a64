"""Verbs that say what of a difference is real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, Overrides, app, load

_RUNS_HELP = "folders of finished runs; commas join seeds of one system, or its datasets"
_Slices = Annotated[
    list[str] | None,
    typer.Option(metavar="BY", help="wh, first-word, length, or a field of queries.jsonl"),
]


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help=_RUNS_HELP, metavar="[NAME=]RUN[,RUN]")],
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="only differences from this system")
    ] = None,
    measure: Annotated[
        str | None, typer.Option(help="what --slices, --worst, --stability are about")
    ] = None,
    slices: _Slices = None,
    worst: Annotated[int, typer.Option(min=0, help="show that many regressions")] = 0,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="judged@k, condensed lists, bpref, infAP")
    ] = False,
    stability: Annotated[
        bool, typer.Option("--stability", help="order of the systems with fewer judgements")
    ] = False,
    unjudged: Annotated[
        Path | None, typer.Option(metavar="OUT.json", help="write unjudged top results to judge")
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="how far --unjudged looks")] = 10,
    verdicts: Annotated[
        Path | None, typer.Option(metavar="RUN", help="what pyrite relabel said of --unjudged")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of resamples and sign flips")] = 0,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown")] = False,
) -> None:
    """Compare finished evaluations: intervals, Holm-corrected tests, slices, regressions."""
    from ..eval.compare import CompareOptions, compare_runs
    from ..eval.compare_report import print_report
    from ..eval.compare_tables import markdown

    options = CompareOptions(
        against,
        measure,
        slices or (),
        worst,
        stability,
        incomplete,
        verdicts,
        unjudged,
        depth,
        seed,
    )
    found = compare_runs(runs, options)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    elif as_markdown:
        typer.echo(markdown(found))
    else:
        print_report(found, Console(width=max(116, Console().width)))


@app.command()
def nevir(
    pairs: Annotated[Path, typer.Argument(help="csv, tsv or JSON lines: q1, q2, doc1, doc2")],
    overrides: Overrides = None,
    config: Annotated[Path | None, typer.Option(help="YAML configuration")] = None,
    as_json: AsJson = False,
) -> None:
    """Count the pairs that a model ranks right for a query and for its negation (NevIR)."""
    from ..eval.nevir import NevirConfig
    from ..eval.nevir import nevir as run

    found = run(pairs, load(NevirConfig, config, overrides))
    typer.echo(json.dumps(found.as_json()) if as_json else found.sentence())

"""The verb that says what a run would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, ConfigPath, Overrides, app, load

_COUNT = "as 8.8M, 500k or 2e6"
Documents = Annotated[str | None, typer.Option(help=f"{_COUNT}; default: the dataset's")]
Queries = Annotated[
    str | None, typer.Option(help=f"queries that are mined, {_COUNT}; default: the dataset's")
]
HeldOut = Annotated[str | None, typer.Option(help="held-out queries; default: the dataset's")]
Tokens = Annotated[str | None, typer.Option(help="of each; default: a sample of the dataset")]
Depth = Annotated[str | None, typer.Option(help="as retrieve.depth")]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu or cuda, measured here; or h200, h100, a100 ...: published figures times an"
        " assumed share; default: the configured one"
    ),
]
Price = Annotated[float | None, typer.Option(min=0, help="of the machine, in any currency")]
Judges = Annotated[
    Path | None, typer.Option(help="YAML configuration of pyrite relabel, for its prices")
]


@app.command()
def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    docs: Documents = None,
    queries: Queries = None,
    eval_queries: HeldOut = None,
    doc_tokens: Tokens = None,
    query_tokens: Tokens = None,
    depth: Depth = None,
    device: Device = None,
    price_per_hour: Price = None,
    relabel: Judges = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="measure this machine again: about half a minute")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what mining and training would take: time, memory, disk and cost by stage."""
    from ..miner.relabel.config import RelabelConfig
    from ..trainers.plan.amounts import parse_count
    from ..trainers.plan.plan import PlanOptions
    from ..trainers.plan.plan import plan as run
    from ..trainers.plan.report import plan_tables, sentences
    from ..trainers.plan.sizes import Said
    from ..trainers.run_config import TrainConfig

    given = {
        "--docs": docs,
        "--queries": queries,
        "--eval-queries": eval_queries,
        "--doc-tokens": doc_tokens,
        "--query-tokens": query_tokens,
    }
    counts = [None if text is None else parse_count(text, knob) for knob, text in given.items()]
    deeper = [] if depth is None else [f"retrieve.depth={parse_count(depth, '--depth')}"]
    judges = None if relabel is None else load(RelabelConfig, relabel, None)
    options = PlanOptions(Said(*counts), device, price_per_hour, measure, judges)
    found = run(load(TrainConfig, config, [*(overrides or []), *deeper]), options)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    console = Console(width=max(150, Console().width))
    for table in plan_tables(found):
        console.print(table)
    for sentence in sentences(found):
        typer.echo(sentence)

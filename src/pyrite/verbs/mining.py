"""Verbs that choose negatives."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, ConfigPath, Overrides, app, load


@app.command()
def mine(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Mine hard negatives for the training queries."""
    from ..miner.mine import mine as run
    from ..miner.report import mining_table
    from ..trainers.run_config import TrainConfig

    loaded = load(TrainConfig, config, overrides)
    mined = run(loaded)
    if as_json:
        typer.echo(json.dumps(mined.tally.as_json()))
        return
    unit = "positives" if loaded.filters.positive_score == "each" else "queries"
    Console().print(mining_table(mined.tally, loaded.sampler.total, unit))
    typer.echo(f"{'kept' if mined.reused else 'wrote'} {mined.folder}")


@app.command()
def suggest(
    config: ConfigPath,
    overrides: Overrides = None,
    max_false_negatives: Annotated[
        float | None,
        typer.Option(
            help="highest estimated share of false negatives to recommend, in place of a limit of"
            " the estimate's own"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare filter and sampler settings on the candidates of a run; recommend one."""
    from ..miner.suggest import suggest as run
    from ..miner.suggest_report import explanation, suggestion_table, write_plot
    from ..trainers.run_config import TrainConfig

    suggestion = run(load(TrainConfig, config, overrides), max_false_negatives)
    plot = write_plot(suggestion)
    if as_json:
        typer.echo(json.dumps(suggestion.as_json()))
        return
    Console(width=max(110, Console().width)).print(suggestion_table(suggestion))
    typer.echo(explanation(suggestion))
    typer.echo(f"wrote {plot}")


@app.command()
def truth(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Hide known positives and count how many each setting draws as negatives."""
    from ..miner.truth import truth_test
    from ..miner.truth_report import truth_table
    from ..trainers.run_config import TrainConfig

    found = truth_test(load(TrainConfig, config, overrides))
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    Console(width=max(110, Console().width)).print(truth_table(found))

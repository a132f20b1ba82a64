"""Verbs that judge negatives."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from .app import AsJson, ConfigPath, DryRun, Overrides, app, as_dry_run, end_if_stopped, load


@app.command()
def relabel(
    config: ConfigPath,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find the false negatives of a training file with a cascade of judges, and repair it."""
    from ..miner.relabel.config import RelabelConfig
    from ..miner.relabel.relabel import relabel as run
    from ..miner.relabel.report import agreements_table, estimate_table, rows_table, stages_table

    done = run(load(RelabelConfig, config, as_dry_run(overrides, dry_run)))
    console = Console(width=max(110, Console().width))
    if as_json:
        typer.echo(json.dumps(done.as_json()))
    elif done.estimates:
        console.print(estimate_table(done.estimates))
    else:
        console.print(stages_table(done))
        console.print(rows_table(done))
        agreement = agreements_table(done)
        if agreement is not None:
            console.print(agreement)
        if done.stopped is None:
            typer.echo(f"wrote {done.folder}")
    end_if_stopped(done.stopped)


@app.command()
def calibrate(
    config: ConfigPath,
    overrides: Overrides = None,
    labels: Annotated[
        str, typer.Option(help="stored: the last stage's verdicts; human; positives: hidden ones")
    ] = "stored",
    stage: Annotated[
        int | None, typer.Option(min=0, help="which to fit, from 0; default: the one there is")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="most rows to score")] = 2000,
    as_json: AsJson = False,
) -> None:
    """Fit the probabilities of an embedding or cross-encoder judge to labelled pairs."""
    from ..miner.relabel.calibrate import calibrate as run
    from ..miner.relabel.calibration_report import reliability_table, sentences
    from ..miner.relabel.config import RelabelConfig

    done = run(load(RelabelConfig, config, overrides), labels, stage, sample)
    if as_json:
        typer.echo(json.dumps(done.data))
        return
    Console(width=max(110, Console().width)).print(reliability_table(done))
    for sentence in sentences(done):
        typer.echo(sentence)

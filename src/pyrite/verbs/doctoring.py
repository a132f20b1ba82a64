"""The verb that looks at the machine."""

from __future__ import annotations

import json

import typer
from rich.console import Console

from .app import AsJson, app


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has and lacks: versions, GPU, FAISS, Java, memory, disk, extras."""
    from ..doctor import diagnose
    from ..doctor_report import doctor_table, sentences

    diagnosis = diagnose()
    if as_json:
        typer.echo(json.dumps(diagnosis.as_json()))
    else:
        Console(width=max(100, Console().width)).print(doctor_table(diagnosis))
        for sentence in sentences(diagnosis):
            typer.echo(sentence)
    if not diagnosis.healthy:
        raise typer.Exit(1)

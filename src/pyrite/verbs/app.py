"""The `pyrite` command without its verbs, and what the verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import __version__

if TYPE_CHECKING:
    from ..core.config import C

app = typer.Typer(
    name="pyrite",
    help="Mine hard negatives, train on them, measure whether it helped.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
ConfigPath = Annotated[Path, typer.Argument(help="YAML configuration", metavar="CONFIG")]


def complete_keys(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Keys of the verb's configuration, for the shell."""
    from ..completion import complete

    return complete(ctx.info_name, incomplete)


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="overrides, as sampler.a=0.7", metavar="A.B=C", autocompletion=complete_keys
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pyrite {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Mine hard negatives, train on them, measure whether it helped."""


def load(kind: type[C], config: Path | None, overrides: list[str] | None) -> C:
    """The configuration `kind` from a YAML file, if any, with dotted overrides."""
    # pydantic is half the time that --help takes
    from ..core.config import load_config

    return load_config(kind, config, overrides or [])

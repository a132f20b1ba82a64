"""The `pyrite` command without its verbs, and what the verbs share."""

from __future__ import annotations

import sys
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
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="estimate calls, tokens and cost; write nothing")
]
TextsOfIds = Annotated[
    Path | None, typer.Option(help="texts of a file that holds ids: a file, or a BEIR folder")
]
TextsOfQueries = Annotated[
    Path | None, typer.Option(help="texts of query ids; default: those of the BEIR folder")
]
QrelsFile = Annotated[Path | None, typer.Option(help="positives of a ranked run")]
CacheDir = Annotated[Path, typer.Option(help="where such texts are mapped from")]
CACHE_DIR = Path("runs/.cache")
_STOPPED = 3  # a budget is spent; the same command goes on


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


def as_dry_run(overrides: list[str] | None, dry_run: bool) -> list[str]:
    """The overrides with what `--dry-run` stands for."""
    return [*(overrides or []), *(["dry_run=true"] if dry_run else [])]


def end_if_stopped(stopped: str | None) -> None:
    """End with 3 and the sentence of a run whose budget is spent."""
    if stopped is not None:
        sys.stderr.write(f"pyrite: {stopped}\n")
        raise typer.Exit(_STOPPED)

"""The verb that checks training files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .app import CACHE_DIR, AsJson, CacheDir, QrelsFile, TextsOfIds, TextsOfQueries, app, load

if TYPE_CHECKING:
    from ..miner.relabel.config import RelabelConfig

_Against = Annotated[
    Path | None,
    typer.Option(metavar="SET_DIR", help="BEIR or MTEB folder that must not be trained on"),
]
_Judge = Annotated[
    Path | None,
    typer.Option(metavar="CONFIG", help="configuration of relabel: its last stage judges a sample"),
]
_Sample = Annotated[int, typer.Option(min=1, help="random negatives for --judge")]


def _judging(judge: Path, path: Path) -> RelabelConfig:
    from ..miner.relabel.config import RelabelConfig

    return load(RelabelConfig, judge, [f"data.path={json.dumps(str(path))}"])


@app.command()
def audit(
    path: Annotated[Path, typer.Argument(help="training file or run folder", metavar="PATH")],
    as_json: AsJson = False,
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", help="write a cleaned copy; never overwrites")
    ] = None,
    against: _Against = None,
    split: Annotated[str, typer.Option(help="split of --against")] = "test",
    max_words: Annotated[int, typer.Option(min=1, help="a text with more is long")] = 512,
    max_warnings: Annotated[
        int | None, typer.Option(min=0, help="exit with 1 above; default: no limit")
    ] = None,
    corpus: TextsOfIds = None,
    queries: TextsOfQueries = None,
    qrels: QrelsFile = None,
    cache_dir: CacheDir = CACHE_DIR,
    wanted: Annotated[
        str | None, typer.Option("--format", help="the format; default: guessed and printed")
    ] = None,
    judge: _Judge = None,
    sample: _Sample = 400,
) -> None:
    """Audit a training file, ours or anybody's, for false negatives and leaked test queries."""
    from ..miner.audit import audit as run
    from ..miner.audit_report import audit_table, heading, removed_sentence
    from ..miner.formats.sources import Sources

    sources = Sources(corpus, queries, qrels, cache_dir)
    found = run(
        path,
        sources=sources,
        wanted=wanted,
        fix=fix,
        against=against,
        split=split,
        max_words=max_words,
        judge=None if judge is None else _judging(judge, path),
        sample=sample,
    )
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        typer.echo(heading(found))
        Console().print(audit_table(found))
        if found.judged is not None:
            typer.echo(found.judged.sentence())
        if fix is not None and found.removed is not None:
            typer.echo(removed_sentence(found.removed, fix))
    if not found.passes(max_warnings):
        raise typer.Exit(1)

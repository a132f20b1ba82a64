"""The verb that changes formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .app import CACHE_DIR, AsJson, CacheDir, QrelsFile, TextsOfIds, TextsOfQueries, app

_IN = "training file, run folder, BEIR, MTEB or MS MARCO folder, or hf://datasets/OWNER/NAME"
_OUT = "a folder, or a file if the name has a suffix; never overwritten"


@app.command()
def convert(
    path: Annotated[str, typer.Argument(help=_IN, metavar="IN")],
    out: Annotated[Path, typer.Argument(help=_OUT, metavar="OUT")],
    to: Annotated[str, typer.Option(help="the format to write; docs/formats.md lists them")],
    wanted: Annotated[
        str | None, typer.Option("--format", help="format of IN; default: guessed and printed")
    ] = None,
    corpus: TextsOfIds = None,
    queries: TextsOfQueries = None,
    qrels: QrelsFile = None,
    cache_dir: CacheDir = CACHE_DIR,
    split: Annotated[str, typer.Option(help="split of a set that is read or written")] = "train",
    config: Annotated[str | None, typer.Option(help="one of a hub dataset's several")] = None,
    negatives: Annotated[
        int | None, typer.Option(min=1, help="negatives in a row, --to st; default: the commonest")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="refuse what the format cannot hold")
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="upload the folder, private; token: HF_TOKEN"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert training files, judged sets, texts, judgements and runs; count what gets lost."""
    from ..miner.convert.convert import ConvertOptions
    from ..miner.convert.convert import convert as run
    from ..miner.convert.report import sentences
    from ..miner.formats.sources import Sources

    sources = Sources(corpus, queries, qrels, cache_dir)
    options = ConvertOptions(sources, wanted, config, split, negatives, strict, push_to_hub)
    done = run(path, out, to, options)
    typer.echo(json.dumps(done.as_json()) if as_json else "\n".join(sentences(done)))

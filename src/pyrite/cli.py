"""The command line: one function for each verb, no logic."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from . import __version__
from .core.errors import PyriteError
from .core.no_room import no_room

if TYPE_CHECKING:
    from .core.config import C
    from .miner.relabel.config import RelabelConfig

app = typer.Typer(
    name="pyrite",
    help="Mine hard negatives, train on them, measure whether it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_INTERRUPTED = 130
_STOPPED = 3  # a budget is spent; the same command goes on
_Config = Annotated[Path, typer.Argument(help="YAML configuration", metavar="CONFIG")]
_Overrides = Annotated[
    list[str] | None, typer.Argument(help="overrides, as sampler.a=0.7", metavar="A.B=C")
]
_Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]

_Against = Annotated[
    Path | None,
    typer.Option(metavar="SET_DIR", help="BEIR or MTEB folder that must not be trained on"),
]
_Judge = Annotated[
    Path | None,
    typer.Option(metavar="CONFIG", help="configuration of relabel: its last stage judges a sample"),
]
_Sample = Annotated[int, typer.Option(min=1, help="random negatives for --judge")]

_SHORTCUTS = {
    "retriever": "eval.source.kind",
    "data": "dataset.path",
    "split": "dataset.eval_split",
    "model": "encoder.model",
}
_SHORT = re.compile(rf"^({'|'.join(_SHORTCUTS)})(?==)")
_EVAL_HELP = "YAML configuration, overrides, or retriever=bm25s|lucene|dense data=PATH split=test"


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("pyrite").setLevel(logging.INFO)
    try:
        app(prog_name="pyrite")
    except PyriteError as error:
        _fail(str(error))
    except SystemExit as end:
        # typer turns Ctrl-C into this exit code without a word
        if end.code == _INTERRUPTED:
            sys.stderr.write("pyrite: interrupted; run the same command again to go on\n")
        raise
    except Exception as error:
        # a failed write names no file
        if no_room(error):
            _fail(
                "no space left on the disk; make room or point runs_dir and cache_dir at another"
                " disk, then run the same command again to go on"
            )
        if not isinstance(error, OSError) or error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; check that it exists and may be written")


def _fail(sentence: str) -> None:
    sys.stderr.write(f"pyrite: error: {sentence}\n")
    sys.exit(2)


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


def _load(kind: type[C], config: Path | None, overrides: list[str] | None) -> C:
    # pydantic is half the time that --help takes
    from .core.config import load_config

    return load_config(kind, config, overrides or [])


@app.command()
def mine(config: _Config, overrides: _Overrides = None, as_json: _Json = False) -> None:
    """Mine hard negatives for the training queries."""
    from .miner.mine import mine as run
    from .miner.report import mining_table
    from .trainers.run_config import TrainConfig

    loaded = _load(TrainConfig, config, overrides)
    mined = run(loaded)
    if as_json:
        typer.echo(json.dumps(mined.tally.as_json()))
        return
    unit = "positives" if loaded.filters.positive_score == "each" else "queries"
    Console().print(mining_table(mined.tally, loaded.sampler.total, unit))
    typer.echo(f"{'kept' if mined.reused else 'wrote'} {mined.folder}")


@app.command()
def suggest(
    config: _Config,
    overrides: _Overrides = None,
    max_false_negatives: Annotated[
        float | None,
        typer.Option(
            help="highest estimated share of false negatives to recommend, in place of a limit of"
            " the estimate's own"
        ),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Compare filter and sampler settings on the candidates of a run; recommend one."""
    from .miner.suggest import suggest as run
    from .miner.suggest_report import explanation, suggestion_table, write_plot
    from .trainers.run_config import TrainConfig

    suggestion = run(_load(TrainConfig, config, overrides), max_false_negatives)
    plot = write_plot(suggestion)
    if as_json:
        typer.echo(json.dumps(suggestion.as_json()))
        return
    Console(width=max(110, Console().width)).print(suggestion_table(suggestion))
    typer.echo(explanation(suggestion))
    typer.echo(f"wrote {plot}")


@app.command()
def truth(config: _Config, overrides: _Overrides = None, as_json: _Json = False) -> None:
    """Hide known positives and count how many each setting draws as negatives."""
    from .miner.truth import truth_test
    from .miner.truth_report import truth_table
    from .trainers.run_config import TrainConfig

    found = truth_test(_load(TrainConfig, config, overrides))
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    Console(width=max(110, Console().width)).print(truth_table(found))


@app.command()
def train(config: _Config, overrides: _Overrides = None, as_json: _Json = False) -> None:
    """Fine-tune with in-batch and with mined negatives; compare both with the base model."""
    from .trainers.run_config import TrainConfig

    loaded = _load(TrainConfig, config, overrides)
    # torch takes seconds: a mistake in the configuration must not wait for it
    from .eval.report import systems_table
    from .trainers.processes import is_main
    from .trainers.train import train as run

    trained = run(loaded)
    if not is_main():
        return
    if as_json:
        typer.echo(json.dumps(trained.results()))
        return
    title = f"held-out queries: {len(next(iter(trained.evaluations.values())).query_ids):,}"
    Console(width=max(116, Console().width)).print(
        systems_table(trained.evaluations, trained.comparisons, title)
    )
    if loaded.refresh.mode != "off":
        from .trainers.refresh_home import RefreshHome
        from .trainers.refresh_log import RefreshLog
        from .trainers.refresh_report import refresh_table

        log = RefreshLog(RefreshHome.of(loaded.run_folder).folder)
        Console(width=max(116, Console().width)).print(refresh_table(log))
    typer.echo(f"wrote {trained.folder / 'results.json'}")


@app.command()
def refresh(
    run: Annotated[Path, typer.Argument(help="folder of a run that trains", metavar="RUN")],
    overrides: _Overrides = None,
    once: Annotated[bool, typer.Option(help="end after the newest weights there are")] = False,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Mine anew whenever a run in training publishes weights, until it has finished."""
    from .trainers.refresher import refresh as work

    made = work(run, overrides or [], once, parent)
    typer.echo(f"made {made} generation{'s' * (made != 1)} of {run}")


@app.command(name="eval")
def evaluate(
    arguments: Annotated[list[str], typer.Argument(help=_EVAL_HELP, metavar="CONFIG|A.B=C")],
    as_json: _Json = False,
) -> None:
    """Evaluate a model or a retriever on the held-out split; nothing is trained."""
    from .eval.evaluate import evaluate as run
    from .eval.report import systems_table
    from .trainers.run_config import TrainConfig

    given = [_SHORT.sub(lambda found: _SHORTCUTS[found[0]], a) for a in arguments]
    path = Path(given.pop(0)) if given and "=" not in given[0] else None
    loaded = _load(TrainConfig, path, given)
    evaluation = run(loaded)
    if as_json:
        typer.echo(json.dumps(evaluation.means()))
        return
    title = f"{loaded.dataset.path}, {loaded.dataset.eval_split}"
    dense = loaded.eval.source.kind == "dense"
    name = loaded.encoder.model if dense else loaded.eval.source.label
    Console().print(systems_table({name: evaluation}, [], title))


@app.command()
def relabel(
    config: _Config,
    overrides: _Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="estimate calls, tokens and cost; write nothing")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Find the false negatives of a training file with a cascade of judges, and repair it."""
    from .miner.relabel.config import RelabelConfig
    from .miner.relabel.relabel import relabel as run
    from .miner.relabel.report import agreements_table, estimate_table, rows_table, stages_table

    given = [*(overrides or []), *(["dry_run=true"] if dry_run else [])]
    done = run(_load(RelabelConfig, config, given))
    console = Console(width=max(110, Console().width))
    if as_json:
        typer.echo(json.dumps(done.as_json()))
    elif done.estimates:
        console.print(estimate_table(done))
    else:
        console.print(stages_table(done))
        console.print(rows_table(done))
        agreement = agreements_table(done)
        if agreement is not None:
            console.print(agreement)
        if done.stopped is None:
            typer.echo(f"wrote {done.folder}")
    if done.stopped is not None:
        sys.stderr.write(f"pyrite: {done.stopped}\n")
        raise typer.Exit(_STOPPED)


def _judging(judge: Path, path: Path) -> RelabelConfig:
    from .miner.relabel.config import RelabelConfig

    return _load(RelabelConfig, judge, [f"data.path={json.dumps(str(path))}"])


@app.command()
def audit(
    path: Annotated[Path, typer.Argument(help="training file or run folder", metavar="PATH")],
    as_json: _Json = False,
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", help="write a cleaned copy; never overwrites")
    ] = None,
    against: _Against = None,
    split: Annotated[str, typer.Option(help="split of --against")] = "test",
    max_words: Annotated[int, typer.Option(min=1, help="a text with more is long")] = 512,
    max_warnings: Annotated[
        int | None, typer.Option(min=0, help="exit with 1 above; default: no limit")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="texts of a file that holds ids: a file, or a BEIR folder")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="texts of query ids; default: those of the BEIR folder")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="positives of a ranked run")] = None,
    cache_dir: Annotated[Path, typer.Option(help="where such texts are mapped from")] = Path(
        "runs/.cache"
    ),
    wanted: Annotated[
        str | None, typer.Option("--format", help="the format; default: guessed and printed")
    ] = None,
    judge: _Judge = None,
    sample: _Sample = 400,
) -> None:
    """Audit a training file, ours or anybody's, for false negatives and leaked test queries."""
    from .miner.audit import audit as run
    from .miner.audit_report import audit_table, heading, removed_sentence
    from .miner.formats.sources import Sources

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

"""The verb `make`: hard negatives that a language model writes, checked by judges.

Passages after "Don't Retrieve, Generate" (arXiv 2504.21015), queries after DocReRank (arXiv
2505.22584). Writes to `<runs_dir>/<name>/made`: `made.jsonl`, a text with its provenance a line;
`texts.arrow`, each text once; `triplets.jsonl` for sentence-transformers; for queries the BEIR
folder `reversed`; `report.json`, `spent.json`, and the manifest last. Nothing of it appears before
the last anchor is done; what was paid for lies in `<cache_dir>/verdicts.sqlite` at once.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...core.config import dump_config
from ...core.dataset import open_dataset, text_hashes
from ...core.errors import PyriteError
from ...core.qrels_union import unite_qrels
from ...core.run import check_folders
from ...core.store import Manifest, atomic_write, discard, write_bytes, write_json
from ..relabel.budget import Budget, Spent
from ..relabel.build import JudgeMaker, opened_stores
from ..relabel.cascade import StoppedError
from ..relabel.case import Judge
from ..relabel.outcome import Outcome
from ..relabel.prompt import ShownConfig
from .asked import Anchors, Asked, anchors_of
from .check import Check
from .config import Kind, MakeConfig, prompt_of
from .estimate import estimate
from .made_file import FOLDER, KIND, MADE, SCHEMA, TEXTS, anchors_digest, write_made_texts
from .made_row import MadeRow
from .making import Making
from .reversed import FILES, write_reversed
from .sieve import Sieve, word_band
from .text_store import TextStore
from .writer import Writer, build_writer
from .writing import Writing

TRIPLETS = "triplets.jsonl"
_ANCHORS: dict[Kind, str] = {"passages": "queries", "queries": "documents"}
REPORT, SPENT, STOPPED, CONFIG = "report.json", "spent.json", "stopped.json", "make.yaml"


class Made(Outcome):
    """A run of `make`: finished, stopped at a budget, or only estimated."""

    __slots__ = ()


def make(
    config: MakeConfig, writer: Writer | None = None, judges: Sequence[Judge] | None = None
) -> Made:
    """Have texts written for the training queries or their documents, and keep what is checked.

    `writer` and `judges` stand in the place of those that the configuration names. A run that stops
    at a budget changes nothing but the stored replies. Raises PyriteError on bad input, before
    anything is asked, and if no text is left.
    """
    check_folders(config)
    folder = config.run_folder / FOLDER
    with _opened(config, writer, judges) as (making, before):
        if config.dry_run:
            return Made(folder, {}, {}, estimates=tuple(estimate(making)))
        return _run(config, making, folder, before)


@contextmanager
def _opened(
    config: MakeConfig, writer: Writer | None, judges: Sequence[Judge] | None
) -> Iterator[tuple[Making, Spent]]:
    """The run before its first call, and what earlier calls of it took."""
    if judges is not None and len(judges) != len(config.checks):
        raise PyriteError(
            f"{len(judges)} judges for {len(config.checks)} checks; give one for each of checks"
        )
    anchors, sieve = _inputs(config)
    run = config.run_folder / FOLDER
    with opened_stores(config.cache, run, config.dry_run) as (paid, own):
        before = paid.spent()
        budget = Budget(config.max_cost, config.max_calls, before)
        maker = JudgeMaker(config, paid, own, budget)
        named = enumerate(config.checks)
        found = judges or [maker.judge(check, f"checks[{at}]") for at, check in named]
        if len({judge.key for judge in found}) < len(found):
            raise PyriteError(
                "two of checks are the same judge with the same prompt, so the second would agree;"
                " give one another prompt or model"
            )
        who = writer or build_writer(config, budget)
        # a function's texts cost nothing, and no key says when it changed
        keeps = config.writer.writer != "scripted" and writer is None
        place = paid if config.writer.writer == "chat" else own
        store = TextStore(place.path, place.run) if keeps else None
        try:
            prompts = [prompt_of(check) for check in config.checks]
            checks = [Check.of(*pair) for pair in zip(found, prompts, strict=True)]
            writing = Writing(who, store, budget)
            yield Making(config, anchors, writing, checks, sieve, _whole(config)), before
        finally:
            if store is not None:
                store.close()


def _inputs(config: MakeConfig) -> tuple[Anchors, Sieve]:
    dataset = open_dataset(config.dataset, config.cache)
    split = dataset.qrels(config.dataset.train_split, config.dataset.min_grade)
    qrels = unite_qrels(split, config.dataset.qrels, dataset)
    anchors = anchors_of(dataset, split, qrels, config.kind, config.most, config.seed)
    if config.kind == "passages":
        table, rows = dataset.corpus, np.arange(len(dataset.corpus))
    else:
        table, rows = dataset.queries, split.with_positives()
    taken = np.sort(text_hashes(table, config.cache))
    band = word_band(table, rows, config.length)
    return anchors, Sieve(config.kind, taken, band, config.one_slot)


def _whole(config: MakeConfig) -> int | None:
    """The most characters of a document that writer and checks all see whole."""
    if config.kind == "passages":
        return None
    shown: list[ShownConfig] = []
    for one, name in (
        (config.writer, config.writer.writer),
        *((c, c.judge) for c in config.checks),
    ):
        if name in ("chat", "local"):
            shown.append(getattr(one, name))
    return min((s.max_chars for s in shown if s.max_chars is not None), default=None)


def _run(config: MakeConfig, making: Making, folder: Path, before: Spent) -> Made:
    earlier = Manifest.read(folder)
    try:
        with atomic_write(folder / MADE) as made, atomic_write(folder / TRIPLETS) as triplets:
            for block in making.blocks():
                for asked, rows in block:
                    _write(asked, rows, made, triplets)
            report = making.report()
            if not report["kept"]:
                raise _nothing_left(config, report)
            discard(folder)
    except StoppedError as stop:
        return _stopped(folder, making, before, str(stop))
    (folder / STOPPED).unlink(missing_ok=True)
    write_made_texts(folder)
    named = [MADE, TEXTS, TRIPLETS, REPORT, SPENT, CONFIG]
    if config.kind == "queries":
        write_reversed(folder, making.anchors)
        named += FILES
    spent = _spent(making, before)
    write_json(folder / REPORT, report)
    write_json(folder / SPENT, spent)
    write_bytes(folder / CONFIG, dump_config(config).encode())
    # what an earlier run of the other kind wrote is no part of this one
    for name in sorted(set(earlier.data.get("files", {}) if earlier else ()) - set(named)):
        (folder / name).unlink(missing_ok=True)
    Manifest.write(
        folder,
        named,
        schema=SCHEMA,
        kind=KIND,
        verb="make",
        config=config.model_dump(mode="json"),
        inputs={
            "anchors": anchors_digest(folder, making.anchors.table),
            "writer": making.writing.writer.key,
            "checks": [check.judge.key for check in making.checks],
        },
        seed=config.seed,
        counts=report,
    )
    return Made(folder, report, spent)


def _nothing_left(config: MakeConfig, report: dict[str, Any]) -> PyriteError:
    checks = {check["check"]: check["seen"] - check["passed"] for check in report["checks"]}
    return PyriteError(
        f"no text is left of {report['written']:,} written ones (replies:"
        f" {report['anchors_by_state']}, dropped by rules: {report['dropped']}, by checks:"
        f" {checks}); set another writer or prompt in writer.{config.writer.writer}, widen length,"
        " or look at checks"
    )


def _write(asked: Asked, rows: Sequence[MadeRow], made: IO[bytes], triplets: IO[bytes]) -> None:
    """An anchor's texts, and as triplets with its positives in turn."""
    positives = itertools.cycle(asked.known)
    for row in rows:
        made.write(row.line())
        triplet = {"anchor": asked.text, "positive": next(positives), "negative": row.text}
        triplets.write((json.dumps(triplet, ensure_ascii=False) + "\n").encode())


def _stopped(folder: Path, making: Making, before: Spent, reason: str) -> Made:
    sentence = (
        f"stopped at {reason}: {making.done:,} of {len(making.anchors):,}"
        f" {_ANCHORS[making.config.kind]} are done; the replies so far are stored, so raise"
        f" {reason.partition('=')[0]} and run the same command again to go on"
    )
    spent = _spent(making, before)
    left = {"reason": reason, "done": making.done, "anchors": len(making.anchors), **spent}
    write_json(folder / STOPPED, left)
    return Made(folder, making.report(), spent, sentence)


def _spent(making: Making, before: Spent) -> dict[str, Any]:
    """What this run took now, and what earlier calls of the same run took."""
    return {**making.spent(), "calls_before": before.calls, "cost_before": before.cost}

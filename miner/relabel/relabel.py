"""The verb `relabel`: false negatives of a training file found by a cascade, and repaired.

Writes to `<runs_dir>/<name>/relabel`: the rows, `verdicts.jsonl` with every pair that is not clean,
`positives.tsv` where the positives stand outside the file, `report.json`, `spent.json`, and the
manifest last. Nothing appears there before the last row is decided; what a judge was paid for lies
in `<cache_dir>/verdicts.sqlite` at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.config import dump_config
from ...core.digest import digest_file
from ...core.engine.config import anywhere
from ...core.errors import PyriteError
from ...core.run import check_folders
from ...core.store import Manifest, atomic_write, discard, write_bytes, write_json
from ..formats.run import RunFormat
from ..training_file import TrainingFile, open_training_file
from .budget import Spent
from .build import built
from .cascade import Cascade, Stage, StoppedError
from .case import Judge
from .config import RelabelConfig
from .decide import Repair
from .estimate import estimate
from .formats_out import RowWriter, row_writer
from .human_labels import read_human
from .notes import NOTES, POSITIVES, Notes
from .outcome import Outcome
from .paid_store import STORE
from .people import read_people

logger = logging.getLogger(__name__)

SCHEMA = 1
FOLDER = "relabel"
REPORT, SPENT, STOPPED = "report.json", "spent.json", "stopped.json"


class Relabelled(Outcome):
    """A run of `relabel`: finished, stopped at a budget, or only estimated."""

    __slots__ = ()


def relabel(config: RelabelConfig, judges: Sequence[Judge] | None = None) -> Relabelled:
    """Judge the negatives of `config.data`, and write the repaired rows in the same order.

    `judges` stand in the place of those that `config.stages` name, one for each. The file itself is
    never changed, and a run that stops at a budget changes nothing but the stored verdicts. Raises
    PyriteError on bad input, and before any work for an operation that the format cannot hold.
    """
    check_folders(config)
    sources = config.data.sources(config.cache)
    file = open_training_file(Path(config.data.path), sources, config.data.format)
    writer = row_writer(file, config.out, config.operation)
    folder = config.run_folder / FOLDER
    _refuse_own(file, folder / writer.name)
    human = read_human(Path(config.human)) if config.human else {}
    people = read_people(config.cache / STORE)
    with built(config, judges, people) as (stages, before):
        if config.dry_run:
            return _estimated(config, file, folder, stages)
        cascade = Cascade(stages, config.counted, config.double_judge, config.seed, human, people)
        return _run(config, file, writer, folder, cascade, before)


def _refuse_own(file: TrainingFile, out: Path) -> None:
    if out.exists() and out.samefile(file.path):
        raise PyriteError(
            f"data.path={file.path} is what this run would write; set name to another run, so that"
            " the file stays"
        )


def _estimated(
    config: RelabelConfig, file: TrainingFile, folder: Path, stages: Sequence[Stage]
) -> Relabelled:
    expect = [stage.expect for stage in config.stages]
    found = estimate(file.rows(), stages, expect, config.double_judge)
    return Relabelled(folder, {}, {}, estimates=tuple(found))


def _run(
    config: RelabelConfig,
    file: TrainingFile,
    writer: RowWriter,
    folder: Path,
    cascade: Cascade,
    before: Spent,
) -> Relabelled:
    outside = config.operation == "relabel" and file.format.judged_outside
    named = [NOTES, *([POSITIVES] if outside and config.out == "same" else [])]
    rows = sum(1 for _ in file.layout.read(file.path))
    earlier = Manifest.read(folder)
    try:
        with Notes.open(folder, cascade, with_positives=POSITIVES in named) as notes:
            repair = Repair(file, rows, cascade, config, writer, notes.add)
            with atomic_write(folder / writer.name) as handle:
                writer.write(handle, repair.records(), folder / writer.name)
                if not repair.tally.written:
                    raise PyriteError(
                        f"{file.path}: no row would be left ({dict(repair.tally.dropped)}); raise"
                        " max_false_negatives or set another operation"
                    )
                discard(folder)
    except StoppedError as stop:
        return _stopped(folder, repair, before, str(stop))
    (folder / STOPPED).unlink(missing_ok=True)
    report, spent = report_of(repair), _spent(cascade, before)
    write_json(folder / REPORT, report)
    write_json(folder / SPENT, spent)
    named += [writer.name, REPORT, SPENT, *_configs(config, file, folder)]
    # what an earlier run of another format or operation wrote is no part of this one
    for name in sorted(set(earlier.data.get("files", {}) if earlier else ()) - set(named)):
        (folder / name).unlink(missing_ok=True)
    Manifest.write(
        folder,
        named,
        schema=SCHEMA,
        kind="relabelled",
        verb="relabel",
        config=anywhere(config).model_dump(mode="json"),
        inputs={"data": digest_file(file.path), "judges": [s.judge.key for s in cascade.stages]},
        seed=config.seed,
        counts=report,
    )
    return Relabelled(folder, report, spent)


def _configs(config: RelabelConfig, file: TrainingFile, folder: Path) -> list[str]:
    """Write the configuration, and beside negatives by id the one that names their texts."""
    write_bytes(folder / "relabel.yaml", dump_config(anywhere(config)).encode())
    if config.out != "same" or not isinstance(file.format, RunFormat):
        return ["relabel.yaml"]
    write_bytes(folder / "config.yaml", RunFormat.config_of(file.path).read_bytes())
    return ["relabel.yaml", "config.yaml"]


def _stopped(folder: Path, repair: Repair, before: Spent, reason: str) -> Relabelled:
    sentence = (
        f"stopped at {reason}: {repair.tally.rows:,} of {repair.rows:,} rows are decided; the"
        f" verdicts so far are stored, so raise {reason.partition('=')[0]} and run the same command"
        " again to go on"
    )
    spent = _spent(repair.cascade, before)
    left = {"reason": reason, "rows_decided": repair.tally.rows, "rows": repair.rows, **spent}
    write_json(folder / STOPPED, left)
    return Relabelled(folder, report_of(repair), spent, sentence)


def _spent(cascade: Cascade, before: Spent) -> dict[str, Any]:
    """What each stage took now, and what earlier calls of the same run took."""
    stages = [{"stage": tally.label, **tally.spent()} for tally in cascade.tallies]
    return {"stages": stages, "calls_before": before.calls, "cost_before": before.cost}


def report_of(repair: Repair) -> dict[str, Any]:
    """All counts that the verdicts decide: the same whether a run was interrupted or not."""
    cascade = repair.cascade
    spent = cascade.tallies[0].spent().keys()
    stages = [
        {name: value for name, value in tally.as_json().items() if name not in spent}
        for tally in cascade.tallies
    ]
    compared = cascade.human or cascade.by_people
    return {
        "operation": repair.config.operation,
        **repair.tally.as_json(),
        "states": dict(sorted(cascade.states.items())),
        "by_people": dict(sorted(cascade.by_people.items())),
        "stages": stages,
        "between_stages": [a.as_json() for _, a in sorted(cascade.agreements.items())],
        "orders": [a.as_json() for _, a in sorted(cascade.orders.items())],
        "human": [a.as_json() for a in cascade.against_human] if compared else [],
    }

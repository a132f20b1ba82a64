"""What relabelling found: stages, verdicts, agreement, and some of the pairs with reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.config import parse_config
from ...core.digest import digest_file, u64
from ...core.errors import PyriteError
from ...miner.relabel.config import RelabelConfig
from ...miner.relabel.notes import NOTES
from ...miner.relabel.relabel import REPORT, SPENT
from ...miner.training_file import open_training_file
from ...miner.training_row import TrainingRow
from .part import Part, Table
from .run_folder import RunFolder
from .sample import Card, Entry
from .shown import count, number, share, shown

_TEXT = 600
_STAGE = ("seen", "clean", "false_negative", "forwarded", "unknown")
_PAIR = ("both", "only_first", "only_second", "both_clean", "undecided")


def relabel_part(run: RunFolder) -> Part:
    """The part about `pyrite relabel`."""
    report = run.read("relabelling", REPORT)
    spent = run.read("relabelling", SPENT)
    false = report["states"].get("false_negative", 0)
    compared = [*report["between_stages"], *report["orders"], *report["human"]]
    agreements = [pair for pair in compared if any(pair[name] for name in _PAIR)]
    tables = [_stages(report), _outcome(report)]
    if agreements:
        tables.append(_agreements(agreements))
    return Part(
        "relabelling",
        "Relabelled negatives",
        [
            f"{count(report['pairs'])} pairs of {count(report['rows'])} rows were judged;"
            f" {count(false)} negatives ({share(false, report['pairs'])}) are false. Operation:"
            f" {report['operation']}."
        ],
        {**report, "spent": spent},
        headlines=[("false negatives found", f"{count(false)} of {count(report['pairs'])}")],
        tables=tables,
    )


def _stages(report: Mapping[str, Any]) -> Table:
    rows = [
        [one["stage"], *(count(one[name]) for name in _STAGE), _silent(one)]
        for one in report["stages"]
    ]
    columns = ["stage", "pairs", *map(_words, _STAGE[1:]), "no verdict"]
    return Table("stages of the cascade", columns, rows)


def _silent(stage: Mapping[str, Any]) -> str:
    found = stage["silent_by_state"].items()
    return ", ".join(f"{_words(name)} {count(times)}" for name, times in found) or "-"


def _outcome(report: Mapping[str, Any]) -> Table:
    rows = [["rows written", count(report["rows_written"])]]
    rows.append(["rows changed", count(report["rows_changed"])])
    for group in ("rows_dropped", "states", "by_people", "negatives"):
        found = {name: times for name, times in report.get(group, {}).items() if times}
        rows += [[f"{_words(group)}: {_words(n)}", count(times)] for n, times in found.items()]
    return Table("what became of the pairs", ["what", "count"], rows)


def _agreements(found: list[Mapping[str, Any]]) -> Table:
    rows = [
        [
            pair["first"],
            pair["second"],
            *(count(pair[name]) for name in _PAIR),
            number(pair["kappa"], 3),
        ]
        for pair in found
    ]
    columns = ["first", "second", *map(_words, _PAIR), "kappa"]
    return Table("agreement: who calls a pair a false negative", columns, rows, left=2)


def _words(name: str) -> str:
    return name.replace("_", " ")


def relabel_samples(run: RunFolder, wanted: int) -> tuple[list[Card], list[str]]:
    """Some of the pairs that are not clean, as cards, and notes of what could not be shown.

    Those with the smallest hashes of their places; in the order of the file.
    """
    lines = (run.home("relabelling") / NOTES).read_text("utf-8").splitlines()
    notes = [json.loads(line) for line in lines]
    chosen = sorted(notes, key=lambda n: u64(f"{n['line']} {n['negative']}", salt="report"))
    chosen = sorted(chosen[:wanted], key=lambda n: (n["line"], n["negative"]))
    rows, why_not = _rows(run, {note["line"] for note in chosen})
    cards = [_card(note, rows.get(note["line"])) for note in chosen]
    said = [f"{count(len(chosen))} of {count(len(notes))} pairs that are not clean are shown."]
    return cards, [*said, *([f"Their texts are not: {why_not}."] if why_not and chosen else [])]


def _rows(run: RunFolder, lines: set[int]) -> tuple[dict[int, TrainingRow], str]:
    """The rows of the judged file, if that is still the file it was; or why not."""
    manifest = run.manifests["relabelling"].data
    config = parse_config(RelabelConfig, manifest["config"], "relabel/manifest.json")
    path = Path(config.data.path)
    try:
        file = open_training_file(path, config.data.sources(config.cache), config.data.format)
        if digest_file(file.path) != manifest["inputs"]["data"]:
            return {}, f"{config.data.path} was changed since it was judged"
        return {row.line: row for row in file.rows() if row.line in lines}, ""
    except PyriteError as error:
        return {}, str(error)


def _card(note: Mapping[str, Any], row: TrainingRow | None) -> Card:
    at = note["negative"] - 1
    state = note["state"].replace("_", " ")
    fits = row is not None and at < len(row.negatives)
    reason = [f"{_words(note['state'])}, by {note.get('stage', 'no judge')!s}"]
    if "vs_truth" in note:
        reason.append(f"compared with the positives: {note['vs_truth']!s}")
    if "probability" in note:
        reason.append(f"probability {number(note['probability'])}")
    reason += [shown(str(note[name]), _TEXT).text for name in ("unknown", "why") if note.get(name)]
    document = row.negatives[at] if row is not None and fits else None
    return Card(
        query_id=str(note.get("query_id") or f"line {note['line']}"),
        query=shown(row.query if row is not None else "", _TEXT),
        facts=[f"line {note['line']}, negative {note['negative']}"],
        badges=[state],
        positives=[
            Entry(doc.id or "", shown(doc.full, _TEXT), "labelled a positive")
            for doc in (row.positives if row is not None else ())
        ],
        negatives=[
            Entry(
                str(note.get("doc_id") or ""),
                shown(document.full if document else "", _TEXT),
                "; ".join(reason),
            )
        ],
    )

"""What `pyrite make` had written: counts from asked for to left, and some of the texts."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from ...core.digest import u64
from ...miner.made.made_file import MADE
from ...miner.made.make import REPORT, SPENT, TRIPLETS
from .part import Part, Table
from .run_folder import RunFolder
from .sample import Card, Entry
from .shown import count, number, share, shown

NAME = "made texts"
_TEXT = 600
_SPENT = ("stored", "calls", "prompt_tokens", "completion_tokens")


def made_part(run: RunFolder) -> Part:
    """The part about `pyrite make`."""
    report, spent = run.read(NAME, REPORT), run.read(NAME, SPENT)
    asked = "queries" if report["kind"] == "passages" else "documents"
    kept, written = report["kept"], report["written"]
    return Part(
        "made",
        "Made texts",
        [
            f"{count(kept)} {report['kind']} were made for {count(report['anchors'])} {asked};"
            f" {count(report['anchors_without_texts'])} have none."
        ],
        {**report, "spent": spent},
        headlines=[("texts made", f"{count(kept)} of {count(written)} written")],
        tables=[_counts(report), _calls(spent)],
    )


def _counts(report: dict[str, Any]) -> Table:
    written = report["written"]
    rows = [["asked for", count(report["asked_for"]), ""], ["written", count(written), ""]]
    gone = {f"dropped: {_words(rule)}": times for rule, times in report["dropped"].items()}
    for check in report["checks"]:
        gone[f"dropped: relevant to {check['check']}"] = check["false_negative"]
        for why, times in check["undecided"].items():
            gone[f"dropped: undecided by {check['check']}, {_words(why)}"] = times
    gone["kept"] = report["kept"]
    rows += [[what, count(times), share(times, written)] for what, times in gone.items()]
    return Table("what became of the texts", ["what", "count", "share of written"], rows)


def _calls(spent: dict[str, Any]) -> Table:
    rows = [
        [one["stage"], *(count(one[name]) for name in _SPENT), number(one["cost"])]
        for one in spent["stages"]
    ]
    return Table("writer and checks", ["who", *map(_words, _SPENT), "cost"], rows)


def _words(name: str) -> str:
    return name.replace("_", " ")


def made_samples(run: RunFolder, wanted: int) -> tuple[list[Card], list[str]]:
    """Some made texts with what they were made for, those with the smallest hashes of their ids.

    In memory are these alone.
    """
    home, chosen = run.home(NAME), dict[int, Card]()
    count_all = 0
    with (home / MADE).open("rb") as made, (home / TRIPLETS).open("rb") as triplets:
        for row, triplet in zip(map(json.loads, made), map(json.loads, triplets), strict=True):
            key = u64(f"{row['anchor']}\0{row['id']}", salt="report")
            chosen[key] = _card(row, triplet)
            count_all += 1
            if len(chosen) > 2 * wanted + 1:
                chosen = dict(islice(sorted(chosen.items()), wanted))
    cards = [card for _, card in islice(sorted(chosen.items()), wanted)]
    return cards, [f"{count(len(cards))} of {count(count_all)} made texts are shown."]


def _card(row: dict[str, Any], triplet: dict[str, Any]) -> Card:
    checks = ", ".join(row["checks"]) or "nobody"
    said = f"written by {row['writer']}, number {row['number']} of its reply; passed by {checks}"
    return Card(
        query_id=row["anchor"],
        query=shown(triplet["anchor"], _TEXT),
        facts=[f"prompt {row['prompt']}"],
        badges=["made"],
        positives=[Entry("", shown(triplet["positive"], _TEXT), "labelled a positive")],
        negatives=[Entry(row["id"], shown(triplet["negative"], _TEXT), said)],
    )

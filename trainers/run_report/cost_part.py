"""What a run cost, as far as it was written down: time, calls, tokens, money, disk."""

from __future__ import annotations

from typing import Any

from ...core.store import Manifest
from ...miner.relabel.relabel import SPENT
from .part import Part, Table
from .run_folder import KNOWN, RunFolder
from .shown import count, number, seconds, share, size

_SPENT = ("cases", "stored", "calls", "prompt_tokens", "completion_tokens", "cost")


def cost_part(run: RunFolder, refreshed: Part | None) -> Part:
    """The part about cost; seconds are known of refreshed trainings alone."""
    numbers: dict[str, Any] = {"disk": _disk(run)}
    total = sum(numbers["disk"].values())
    tables = [
        Table("on disk", ["part", "size"], [[n, size(v)] for n, v in numbers["disk"].items()])
    ]
    headlines = []
    if refreshed is not None:
        names = ("trained_seconds", "stalled_seconds", "mined_seconds")
        numbers |= {name: refreshed.numbers[name] for name in names}
        tables.append(_time(numbers))
    if "relabelling" in run.manifests:
        spent = run.read("relabelling", SPENT)
        numbers["judges"] = spent
        tables.append(_judges(spent))
        cost = sum(stage["cost"] for stage in spent["stages"]) + spent["cost_before"]
        headlines.append(("paid to judges", number(cost, 2)))
    lead = [f"{size(total)} on disk, without the cache that runs share."]
    notes = []
    if refreshed is None:
        notes.append("Seconds are written down by trainings with refreshed negatives alone.")
    return Part("cost", "Cost", lead, numbers, headlines, tables=tables, notes=notes)


def _disk(run: RunFolder) -> dict[str, int]:
    """Bytes that the manifests record, by part."""
    found = {name: run.manifests[name] for name in KNOWN if name in run.manifests}
    for folder in sorted((run.folder / "models").glob("*")):
        manifest = Manifest.read(folder)
        if manifest is not None:
            found[f"model {folder.name}"] = manifest
    return {
        name: sum(int(entry["bytes"]) for entry in manifest.data.get("files", {}).values())
        for name, manifest in found.items()
    }


def _time(numbers: dict[str, Any]) -> Table:
    trained, stalled = numbers["trained_seconds"], numbers["stalled_seconds"]
    rows = [
        ["training", seconds(trained), ""],
        ["  of it stood still for negatives", seconds(stalled), share(stalled, trained)],
        ["mining generations", seconds(numbers["mined_seconds"]), ""],
    ]
    return Table("time", ["what", "seconds", "share"], rows)


def _judges(spent: dict[str, Any]) -> Table:
    rows = [
        [stage["stage"], *(count(stage[n]) for n in _SPENT[:-1]), number(stage["cost"])]
        for stage in spent["stages"]
    ]
    if spent["calls_before"]:
        before = [count(spent["calls_before"]), "", "", number(spent["cost_before"])]
        rows.append(["earlier calls of this run", "", "", *before])
    columns = ["stage", "cases", "stored", "calls", "prompt tokens", "completion tokens", "cost"]
    return Table("judges", columns, rows)

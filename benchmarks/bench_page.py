"""The results of `all.py` as a Markdown page and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLORS = ("#2166ac", "#b2182b", "#7f7f7f")
COLUMNS = 3


def markdown(result: dict[str, Any]) -> str:
    """A table of the largest sizes, what does not grow linearly, and a table for each stage."""
    stages = result["stages"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        f"{result['hardware']}, {result['date']}. {versions}.",
        "",
        "Each contestant ran in a process of its own, in turns, imports and the first use untimed."
        " Memory is the growth of anonymous memory during the timed part. A ratio is the peer's"
        " seconds over ours: above 1 we are faster. A floor is work that cannot be left out, not a"
        " rival. Exponents are slopes of log(seconds) over log(size); .9 to 1.1 counts as linear.",
        "",
        *_largest(stages),
        "",
        "![seconds and memory against size](bench.png)",
        "",
        "## Not linear",
        "",
        *_exceptions(stages),
    ]
    for stage in stages:
        lines += ["", *_stage(stage)]
    return "\n".join(lines) + "\n"


def _largest(stages: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| stage | size | ours, s | peer | peer, s | ratio | ours, MiB | peer, MiB | exponent |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for stage in stages:
        ours, *peers = stage["contestants"]
        for at, peer in enumerate(peers):
            # the stage is named once
            first = (stage["title"], f"{stage['sizes'][-1]:,} {stage['counts']}")
            last = (f"{ours['exponent']:.2f}",)
            name = peer["contestant"] + " (floor)" * peer["floor"]
            cells = (
                *(first if at == 0 else ("", "")),
                f"{ours['seconds'][-1]:.2f}",
                name,
                f"{peer['seconds'][-1]:.2f}",
                f"{peer['seconds'][-1] / ours['seconds'][-1]:.2f}",
                _mib(ours["extra_bytes"][-1]),
                _mib(peer["extra_bytes"][-1]),
                *(last if at == 0 else ("",)),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _exceptions(stages: Sequence[dict[str, Any]]) -> list[str]:
    """What of ours grows otherwise, in time or in memory."""
    lines = []
    for stage in stages:
        for one in stage["contestants"]:
            if not one["contestant"].startswith("pyrite"):
                continue
            name = f"{stage['title']}, {one['contestant']}"
            if one["growth"] != "linear":
                lines.append(f"- {name}: time, {one['growth']} ({one['exponent']:.2f})")
            if one["memory_growth"] == "more than linear":
                lines.append(f"- {name}: memory, more than linear ({one['memory_exponent']:.2f})")
    return lines or ["Nothing: time and memory of ours grow linearly or not at all."]


def _stage(stage: dict[str, Any]) -> list[str]:
    sizes = [f"{size:,}" for size in stage["sizes"]]
    heads = [*(f"{size} s" for size in sizes), "exponent", *(f"{size} MiB" for size in sizes)]
    lines = [
        f"## {stage['title'][0].upper()}{stage['title'][1:]}",
        "",
        f"Sizes count {stage['counts']}. {stage['fixed'][0].upper()}{stage['fixed'][1:]}."
        f" Rounds: {stage['rounds']}.",
        "",
        f"| contestant | {' | '.join(heads)} | memory |",
        f"|---|{'--:|' * len(heads)}---|",
    ]
    for one in stage["contestants"]:
        cells = (
            one["contestant"] + " (floor)" * one["floor"],
            *(f"{seconds:.3f}" for seconds in one["seconds"]),
            f"{one['exponent']:.2f}",
            *map(_mib, one["extra_bytes"]),
            one["memory_growth"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f}"


def draw(stages: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds (lines) and MiB (dashed) against size, both axes logarithmic, a panel for a stage."""
    from matplotlib.figure import Figure

    rows = -(-len(stages) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 3.4 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).reshape(-1)
    for panel, stage in zip(panels, stages, strict=False):
        memory = panel.twinx()
        for color, one in zip(COLORS, stage["contestants"], strict=False):
            name = one["contestant"].replace("sentence-transformers", "ST")
            panel.plot(stage["sizes"], one["seconds"], color=color, marker="o", label=name[:34])
            held = [max(count / 2**20, 1) for count in one["extra_bytes"]]
            memory.plot(stage["sizes"], held, color=color, linestyle=":", alpha=0.7)
        for axes, unit in ((panel, "s"), (memory, "MiB (dotted)")):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_ylabel(unit, fontsize=8)
            axes.minorticks_off()
            axes.spines["top"].set_visible(False)
        panel.set_xticks(stage["sizes"], [f"{size:,}" for size in stage["sizes"]])
        panel.set_title(f"{stage['title']} ({stage['counts']})", loc="left", fontsize=9)
        panel.legend(frameon=False, fontsize=7)
    for panel in panels[len(stages) :]:
        panel.set_axis_off()
    figure.savefig(path, metadata={"Software": None})

"""What mining did: counts and reasons, scores, ranks, sources, and the documents used most."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ...core.candidates import Reason
from ...core.store import Manifest
from ...miner.tally import BINS, GROUPS, TIERS
from ..run_config import TrainConfig
from .mined_rows import MinedRows
from .part import Bars, Chart, Line, Part, Plot, Series, Table
from .shown import count, number, share, shown
from .texts import RunTexts

_SERIES: dict[str, Series] = dict(zip(GROUPS, ("positives", "kept", "rejected"), strict=True))
_RANK_ENDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_USE_ENDS = (1, 2, 5, 10, 20, 50)
_SNIPPET = 160


def mining_part(
    config: TrainConfig, manifest: Manifest, rows: MinedRows, texts: RunTexts | None
) -> Part:
    """The part about the negatives themselves."""
    counts = manifest.data["counts"]
    unit = "positives" if config.filters.positive_score == "each" else "queries"
    drawn = int(rows.counts.sum())
    short = int((rows.counts < config.sampler.total).sum())
    ranks, uses = _ranks(rows), _uses(rows)
    numbers = {
        **{name: value for name, value in counts.items() if name != "histograms"},
        "drawn": drawn,
        "short": short,
        "ranks": ranks,
        "uses": uses,
        "histograms": counts["histograms"],
        "score_range": manifest.data.get("score_range"),
    }
    scores = _scores(numbers)
    lead = [
        f"{count(counts['candidates'])} candidates of {count(counts['queries'])} {unit};"
        f" {count(counts['kept'])} ({share(counts['kept'], counts['candidates'])}) pass the filters"
        f" and the sampler ({config.sampler.label}) draws {count(drawn)} negatives."
        f" {count(short)} {unit} ({share(short, counts['queries'])}) got fewer than"
        f" {config.sampler.total}."
    ]
    found: list[Chart] = [*([scores] if scores else []), _rank_bars(ranks)]
    return Part(
        "mining",
        "Mined negatives",
        lead,
        numbers,
        headlines=[
            (unit, count(counts["queries"])),
            ("candidates kept", share(counts["kept"], counts["candidates"])),
            ("negatives", count(drawn)),
            (f"{unit} short of {config.sampler.total}", share(short, counts["queries"])),
        ],
        charts=found,
        tables=[
            _reason_table(counts),
            _draw_table(counts, drawn, rows, unit),
            _use_table(uses),
            _most_used_table(counts, unit, texts),
        ],
        notes=()
        if scores
        else (
            "The score distributions are left out: these negatives were mined before Pyrite kept"
            " the range of their scores. Mine again under another name.",
        ),
    )


def _scores(numbers: dict[str, Any]) -> Plot | None:
    """Densities of the three groups over the same bins."""
    if numbers["score_range"] is None:
        return None
    low, high = numbers["score_range"]
    edges, width = np.linspace(low, high, BINS + 1), (high - low) / BINS
    lines, rows = [], []
    for group in GROUPS:
        found = np.asarray(numbers["histograms"][group], dtype=np.float64)
        total = found.sum()
        density = found / max(total, 1.0) / width
        stairs = [(float(x), float(y)) for at, y in enumerate(density) for x in edges[at : at + 2]]
        lines.append(Line(f"{group} ({count(total)})", _SERIES[group], stairs, "area"))
        rows.append([group, count(total), *(_quantile(found, edges, q) for q in (0.1, 0.5, 0.9))])
    middles = "; ".join(f"{name} {middle}" for name, _, _, middle, _ in rows)
    columns = ["scores of", "count", "10%", "median", "90%"]
    return Plot(
        "Scores of query and document",
        f"Densities of three groups of scores from {low:.3f} to {high:.3f}. Medians: {middles}.",
        "score",
        "density",
        lines,
        Table("quantiles, to the width of a bin", columns, rows),
    )


def _quantile(found: np.ndarray, edges: np.ndarray, share_below: float) -> str:
    if not found.sum():
        return "-"
    at = int(np.searchsorted(np.cumsum(found), share_below * found.sum()))
    return number(float(edges[at] + edges[at + 1]) / 2, 3)


def _bins(ends: tuple[int, ...]) -> list[str]:
    starts = (1, *(end + 1 for end in ends[:-1]))
    names = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return [*names, f"over {ends[-1]}"]


def _ranks(rows: MinedRows) -> dict[str, Any]:
    """Negatives by the rank that their source gave them, for each source; 0: it has no ranks."""
    ranks = rows.numbers("ranks").astype(np.int64)
    sources = np.asarray(rows.flat("sources").to_pylist(), dtype=object)
    at = np.where(ranks == 0, 0, 1 + np.searchsorted(_RANK_ENDS, ranks))
    names = ["no rank", *_bins(_RANK_ENDS)]
    found = {
        str(source): np.bincount(at[sources == source], minlength=len(names)).tolist()
        for source in sorted(set(sources.tolist()))
    }
    used = [i for i in range(len(names)) if any(counts[i] for counts in found.values())]
    # bins between two that are used stay, empty as they are
    kept = [i for i in range(len(names)) if used and min(used) <= i <= max(used)]
    return {
        "bins": [names[i] for i in kept],
        "by_source": {name: [counts[i] for i in kept] for name, counts in found.items()},
    }


def _rank_bars(ranks: dict[str, Any]) -> Bars:
    by_source: dict[str, list[int]] = ranks["by_source"]
    totals = [sum(column) for column in zip(*by_source.values(), strict=True)]
    drawn = sum(totals)
    most = ranks["bins"][int(np.argmax(totals))] if totals else "-"
    table = [
        [name, *(count(values[at]) for values in by_source.values()), share(totals[at], drawn)]
        for at, name in enumerate(ranks["bins"])
    ]
    return Bars(
        "Ranks and sources of the negatives",
        f"{count(drawn)} negatives by their rank in {' and '.join(by_source) or 'no source'};"
        f" most are of rank {most}.",
        "negatives",
        ranks["bins"],
        list(by_source),
        list(by_source.values()),
        Table("negatives by rank", ["rank", *by_source, "share"], table),
    )


def _uses(rows: MinedRows) -> dict[str, Any]:
    """How often the documents that are used at all are used."""
    found = np.asarray(pc.value_counts(rows.flat("negative_ids")).field("counts"), dtype=np.int64)
    names = _bins(_USE_ENDS)
    at = np.searchsorted(_USE_ENDS, found)
    documents = np.bincount(at, minlength=len(names))
    draws = np.bincount(at, weights=found, minlength=len(names))
    return {
        "documents": int(found.size),
        "most": int(found.max(initial=0)),
        "by_uses": {
            name: [int(documents[i]), int(draws[i])] for i, name in enumerate(names) if documents[i]
        },
    }


def _use_table(uses: dict[str, Any]) -> Table:
    rows = [
        [name, count(documents), share(documents, uses["documents"]), count(draws)]
        for name, (documents, draws) in uses["by_uses"].items()
    ]
    caption = f"uses of the {count(uses['documents'])} documents among the negatives"
    return Table(caption, ["used for so many rows", "documents", "share", "draws"], rows)


def _most_used_table(counts: dict[str, Any], unit: str, texts: RunTexts | None) -> Table:
    most = counts["most_used"]
    known = texts.of_documents([name for name, _ in most]) if texts else {}
    rows = []
    for name, uses in most:
        text = shown(" ".join(known.get(name, "").split()), _SNIPPET)
        cut = f" … ({count(text.length)} characters)" if text.cut else ""
        rows.append([name, text.text + cut, count(uses), share(uses, counts["queries"])])
    return Table(
        "negatives that are used most", ["document", "text", "uses", f"of all {unit}"], rows, left=2
    )


def _reason_table(counts: dict[str, Any]) -> Table:
    candidates = counts["candidates"]
    rows = [["candidates", count(candidates), ""]]
    for reason in Reason:
        found = counts["reasons"].get(reason.name, 0)
        if found and reason is not Reason.PAD:
            words = f"rejected: {str(reason.name).lower().replace('_', ' ')}"
            rows.append([words, count(found), share(found, candidates)])
    rows += [
        [f"cross-encoder: {name.replace('_', ' ')}", count(found), share(found, candidates)]
        for name, found in sorted(counts["denoise"].items())
    ]
    rows.append(["kept", count(counts["kept"]), share(counts["kept"], candidates)])
    caption = "candidates, and why they were rejected (one may have several reasons)"
    return Table(caption, ["what", "count", "share"], rows)


def _draw_table(counts: dict[str, Any], drawn: int, mined: MinedRows, unit: str) -> Table:
    rows = [["negatives drawn", count(drawn), ""]]
    tiers = Counter(mined.numbers("tiers").astype(int).tolist())
    rows += [
        [f"by {name.replace('_', ' ')}", count(tiers[at]), share(tiers[at], drawn)]
        for at, name in enumerate(TIERS)
        if tiers[at]
    ]
    for name, found in sorted(counts["max_uses"].items()):
        rows.append([f"over max_uses: {name}", count(found), ""])
    if counts["dropped_queries"]:
        dropped = counts["dropped_queries"]
        rows.append([f"{unit} dropped", count(dropped), share(dropped, counts["queries"])])
    rows += [
        [f"{unit} with {found}", count(times), share(times, counts["queries"])]
        for found, times in counts["negatives_per_query"].items()
    ]
    return Table("what was drawn", ["what", "count", "share"], rows)

"""The tables of a comparison as plain strings, and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .compared import Compared
from .plain_text import markdown_cell, plain
from .regressions import Document, Regression, Regressions
from .report import label
from .significance import ALPHA, Comparison
from .slices import Slicing

_QUERY_LETTERS, _DOCUMENT_LETTERS = 160, 200
_MOST_POSITIVES = 3
_NO = "-"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: cells are lines of data, never markup; `note` stands below it.

    The columns from `numbers` on are numbers, aligned to the right.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    numbers: int = 1


def grids(found: Compared) -> Iterator[Grid]:
    """Every table there is something for, in reading order."""
    yield _systems(found)
    yield _differences(found)
    yield from _judgements(found)
    yield from (_slices(one) for one in found.slicings)
    yield from (_worst(one) for one in found.worst)


def markdown(found: Compared) -> str:
    """All tables in Markdown; texts of the dataset are shown letter by letter."""
    lines = [line for grid in grids(found) for line in _markdown(grid)]
    written = found.unjudged.sentence().split("\n") if found.unjudged is not None else []
    return "\n".join([*lines, *(f"    {line}" for line in written)])


def _markdown(grid: Grid) -> Iterator[str]:
    yield f"### {markdown_cell(grid.title)}"
    yield ""
    yield f"| {' | '.join(map(markdown_cell, grid.columns))} |"
    marks = ["---" if at < grid.numbers else "---:" for at in range(len(grid.columns))]
    yield f"| {' | '.join(marks)} |"
    yield from (f"| {' | '.join(map(markdown_cell, row))} |" for row in grid.rows)
    yield ""
    if grid.note:
        yield markdown_cell(grid.note)
        yield ""


def _systems(found: Compared) -> Grid:
    measures = list(found.means(next(iter(found.systems.values))))
    several = _several(found)
    rows = []
    for name in found.systems.values:
        means, spreads = found.means(name), found.spreads(name)
        cells = [_with_spread(means[m], spreads[m]) for m in measures]
        rows.append([plain(name), *([str(found.seeds(name))] if several else []), *cells])
    columns = ["system", *(["seeds"] if several else []), *map(label, measures)]
    datasets = found.systems.datasets
    where = plain(datasets[0]) if len(datasets) == 1 else f"mean of {len(datasets)} datasets"
    note = "± is the standard deviation over seeds" if several else ""
    if found.verdicts is not None:
        note = f"{found.verdicts.sentence()}. {note}".strip()
    return Grid(f"{where}: {len(found.systems.query_ids):,} queries", columns, rows, note)


def _several(found: Compared) -> bool:
    return any(found.seeds(name) > 1 for name in found.systems.values)


def _with_spread(mean: float, sd: float | None) -> str:
    return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"


def _differences(found: Compared) -> Grid:
    seeds = any(one.ci95_seeds is not None for one in found.comparisons)
    rows = [
        [
            plain(f"{one.a} - {one.b}"),
            label(one.measure),
            _marked(one),
            _interval(one.ci95),
            *([_interval(one.ci95_seeds)] if seeds else []),
            _p(one.p_t),
            _p(one.p),
            _p(one.p_holm),
        ]
        for one in found.comparisons
    ]
    beyond = ["95% with seeds"] if seeds else []
    columns = ["difference", "measure", "mean", "95%", *beyond, "p (t)", "p", "p (Holm)"]
    also = ", and the interval over queries and seeds leaves out 0" if seeds else ""
    tests = len(found.comparisons) // max(1, len({one.measure for one in found.comparisons}))
    note = (
        f"*: Holm's p at most {ALPHA}{also}; p: sign flips; Holm's family: {tests}"
        f" difference{'s' * (tests != 1)} of one measure"
    )
    return Grid("differences", columns, rows, note, numbers=2)


def _marked(one: Comparison) -> str:
    return f"{one.difference:+.4f}{'*' if one.significant else ' '}"


def _interval(ends: tuple[float, float] | None) -> str:
    if ends is None or math.isnan(ends[0]):
        return _NO
    return f"[{ends[0]:+.4f}, {ends[1]:+.4f}]"


def _p(value: float) -> str:
    if math.isnan(value):
        return _NO
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _judgements(found: Compared) -> Iterator[Grid]:
    hidden = found.incomplete
    if hidden is not None:
        columns = list(dict.fromkeys(key for means in hidden.systems.values() for key in means))
        rows = [
            [plain(name), *(f"{means[key]:.4f}" for key in columns)]
            for name, means in hidden.systems.items()
        ]
        note = (
            f"{hidden.positives:,} judged positives, {hidden.negatives:,} judged negatives"
            f"{'; first seeds' * _several(found)}"
        )
        if not hidden.negatives:
            note += "; without judged negatives condensed lists, bpref and infAP say nothing"
        yield Grid("incomplete judgements", ["system", *map(_long_label, columns)], rows, note)
    curve = found.stability
    if curve is not None:
        rows = [
            [
                "one each" if not point.share else f"{point.share:.0%}",
                f"{point.kept:.2f}",
                _NO if point.tau is None else _with_spread(point.tau, point.tau_sd),
                str(point.draws),
                f"{point.same_best:.0%}",
            ]
            for point in curve.points
        ]
        columns = ["positives kept", "a query", "Kendall's tau", "draws", "same best"]
        title = f"order of {curve.systems} systems by {label(curve.measure)}, fewer judgements"
        note = f"all: {curve.positives:.2f} positives a query; tau with the order under all of them"
        yield Grid(title, columns, rows, note)


def _long_label(key: str) -> str:
    measure, _, how = key.partition(" ")
    return f"{label(measure)} {how}".strip()


def _slices(one: Slicing) -> Grid:
    first = one.slices[0]
    pairs = [plain(f"{c.a} - {c.b}") for c in first.comparisons]
    rows = [
        [
            plain(part.label, 40),
            f"{part.queries:,}",
            *(f"{mean:.4f}" for mean in part.means.values()),
            *(_marked(compared) for compared in part.comparisons),
        ]
        for part in one.slices
    ]
    columns = ["queries by " + plain(one.by, 40), "count", *map(plain, first.means), *pairs]
    note = "*: Holm's p at most 0.05; its family: all differences of this table"
    return Grid(f"{label(one.measure)} by {plain(one.by, 40)}", columns, rows, note)


def _worst(one: Regressions) -> Grid:
    ranked = any(query.top_a or query.top_b for query in one.queries)
    tops = [f"first of {plain(one.a)}", f"first of {plain(one.b)}"] if ranked else []
    rows = [
        [
            plain(f"{query.query_id}: {query.query}", _QUERY_LETTERS),
            *([_document(query.top_a), _document(query.top_b)] if ranked else []),
            _positives(query, ranked),
            *(f"{value:.4f}" for value in query.values),
        ]
        for query in one.queries
    ]
    columns = ["query", *tops, "judged relevant", plain(one.a), plain(one.b)]
    title = f"greatest losses of {plain(one.a)} against {plain(one.b)}, {label(one.measure)}"
    note = f"{one.worse:,} queries lose, {one.better:,} gain"
    return Grid(title, columns, rows, note, numbers=len(columns) - 2)


def _document(document: Document | None) -> str:
    if document is None:
        return _NO
    grade = "unjudged" if document.grade is None else f"grade {document.grade}"
    return plain(f"{document.id} ({grade}): {document.text}", _DOCUMENT_LETTERS)


def _positives(query: Regression, ranked: bool) -> str:
    shown = query.positives[:_MOST_POSITIVES]
    more = len(query.positives) - len(shown)
    cells = [_positive(document, ranked) for document in shown]
    return "; ".join([*cells, *([f"and {more} more"] if more else [])])


def _positive(document: Document, ranked: bool) -> str:
    ranks = f" (ranks {_rank(document.rank_a)}, {_rank(document.rank_b)})" if ranked else ""
    return plain(f"{document.id}{ranks}: {document.text}", _DOCUMENT_LETTERS)


def _rank(rank: int | None) -> str:
    return _NO if rank is None else str(rank)

"""One table of several systems on several datasets: rich, Markdown and JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from .plain_text import markdown_cell, plain
from .report import label

if TYPE_CHECKING:
    from .mteb_tasks import TaskScore

_HARMLESS = re.compile(r"[\w@ ,./-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One system on one dataset: means of the measures, and who computed them.

    `missing` queries had no result, `identical` results had their query's id and were taken out.
    A row for a group of datasets has no `split`: it is their unweighted mean.
    """

    dataset: str
    system: str
    split: str | None
    means: dict[str, float | None]
    queries: int
    missing: int = 0
    identical: int = 0
    by: str = "pyrite"
    folder: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one `pyrite eval` measured."""

    measures: tuple[str, ...]
    rows: list[Row]
    tasks: list[TaskScore] = field(default_factory=list)
    title: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `table.json` holds."""
        return {"rows": [asdict(r) for r in self.rows], "mteb": [asdict(t) for t in self.tasks]}

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the table of our own datasets."""
        several = any(row.by != "pyrite" for row in self.rows)
        missing = any(row.missing for row in self.rows)
        identical = any(row.identical for row in self.rows)
        header = ["dataset", "system", *(["by"] if several else []), *map(label, self.measures)]
        header += ["queries", *(["missing"] if missing else [])]
        header += ["identical ids"] if identical else []
        cells = []
        for row in self.rows:
            split = "mean" if row.split is None else row.split
            cell = [f"{row.dataset}, {split}", row.system, *([row.by] if several else [])]
            cell += [_number(row.means.get(m)) for m in self.measures]
            cell += [f"{row.queries:,}", *([f"{row.missing:,}"] if missing else [])]
            cells.append(cell + ([f"{row.identical:,}"] if identical else []))
        return header, cells

    def task_cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and cells of mteb's tasks: a column for each system, and the means of the rows."""
        systems = list(dict.fromkeys(score.system for score in self.tasks))
        names = list(dict.fromkeys((score.task, score.measure) for score in self.tasks))
        at = {(score.task, score.system): score.score for score in self.tasks}
        cells = [[t, m, *(_number(at.get((t, s))) for s in systems)] for t, m in names]
        means = [_mean([at.get((t, s)) for t, _ in names]) for s in systems]
        if len(names) > 1:
            cells.append(["mean of the tasks", "", *map(_number, means)])
        return ["mteb task", "main score", *systems], cells

    def rich(self) -> list[Table]:
        """Tables for a terminal."""
        return [_rich(*cells, self.title) for cells in self._tables()]

    def markdown(self) -> str:
        """The same tables as Markdown."""
        return "\n".join(_markdown(*cells) for cells in self._tables())

    def _tables(self) -> list[tuple[list[str], list[list[str]]]]:
        return [
            *([self.cells()] if self.rows else []),
            *([self.task_cells()] if self.tasks else []),
        ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None


def _rich(header: list[str], cells: list[list[str]], title: str | None) -> Table:
    shown = None if title is None else Text(plain(title))
    table = Table(title=shown, title_justify="left")
    left = {"dataset", "system", "by", "mteb task", "main score"}
    for name in header:
        words = name in left
        table.add_column(
            Text(plain(name)),
            justify="left" if words else "right",
            overflow="fold",
            no_wrap=not words,
        )
    for row in cells:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def _markdown(header: list[str], cells: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *cells]
    return "".join("| " + " | ".join(map(_as_cell, line)) + " |\n" for line in lines)


def _as_cell(text: str) -> str:
    # measures and numbers stay as they are; names are the user's
    return text if _HARMLESS.fullmatch(text) else markdown_cell(text)

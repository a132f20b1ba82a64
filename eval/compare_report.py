"""A comparison on a terminal."""

from __future__ import annotations

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from .compare_tables import grids
from .compared import Compared


def print_report(found: Compared, console: Console) -> None:
    """Print every table; texts of the dataset are no markup and steer no terminal."""
    for grid in grids(found):
        # a title or caption would be as narrow as its table
        console.print(Text(grid.title, style="italic"))
        table = Table()
        for at, column in enumerate(grid.columns):
            justify: JustifyMethod = "right" if at >= grid.numbers else "left"
            table.add_column(Text(column), justify=justify, overflow="fold")
        for row in grid.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        if grid.note:
            console.print(Text(grid.note))
    if found.unjudged is not None:
        # a command that is to be copied must not be broken into lines
        console.print(Text(found.unjudged.sentence()), soft_wrap=True)

"""What `pyrite doctor` shows a person."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from .doctor import Diagnosis

_MARKS = {"ok": "", "missing": "missing", "broken": "BROKEN"}


def doctor_table(diagnosis: Diagnosis) -> Table:
    """A row for each finding, topics set apart."""
    table = Table(title="pyrite doctor", title_justify="left")
    for name in ("topic", "what", "found", "state"):
        table.add_column(name, overflow="fold")
    before = ""
    for found in diagnosis.findings:
        if before and found.topic != before:
            table.add_section()
        topic = "" if found.topic == before else found.topic
        table.add_row(topic, escape(found.name), escape(found.value), _MARKS[found.state])
        before = found.topic
    return table


def sentences(diagnosis: Diagnosis) -> Iterator[str]:
    """What to do about each lack, and what it all comes to."""
    for found in diagnosis.findings:
        if found.advice:
            yield f"{found.topic} {found.name}: {found.value}; {found.advice}"
    if diagnosis.healthy:
        yield "all that every verb needs is there"
    else:
        yield "what is BROKEN stops every verb; mend it first"

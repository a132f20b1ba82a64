"""What a plan shows a person."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from .amounts import as_bytes, as_time
from .plan import Plan
from .stage import Stage

_ASSUMED = "assumed, not measured"


def plan_tables(found: Plan) -> Iterator[Table]:
    """The stages with what they come to, and the largest sizes."""
    yield _stages(found)
    yield _limits(found)


def _stages(found: Plan) -> Table:
    sizes = found.sizes
    title = (
        f"{sizes.documents:,} documents of {sizes.document.mean_tokens:.0f} tokens,"
        f" {sizes.queries:,} queries of {sizes.query.mean_tokens:.0f}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("verb")
    table.add_column("stage")
    table.add_column("amount", overflow="fold")
    for name in ("time", "memory", "disk", "for a while"):
        table.add_column(name, justify="right")
    money = bool(found.price_per_hour) or found.price > 0
    if money:
        table.add_column("cost", justify="right")
    table.add_column("rate", overflow="fold")
    before = ""
    for one in found.stages:
        if before and one.verb != before:
            table.add_section()
        cells = [one.verb if one.verb != before else "", escape(one.name), one.amount]
        cells += [_time(one), _memory(one), _bytes(one.disk), _bytes(one.scratch)]
        cells += [_cost(found, one)] if money else []
        table.add_row(*cells, _ASSUMED if one.basis == "assumed" else one.basis)
        before = one.verb
    table.add_section()
    whole = as_time(found.seconds) if found.whole else f"over {as_time(found.seconds)}"
    most = as_bytes(found.memory("host"))
    scratch = max(one.scratch for one in found.stages)
    total = ["", "in all", "", whole, most, _bytes(found.disk - scratch), _bytes(scratch)]
    total += [f"{found.price:,.2f}"] if money else []
    table.add_row(*total, _ASSUMED if found.device else "")
    return table


def _time(one: Stage) -> str:
    if one.seconds is None:
        return "?"
    return f"({as_time(one.seconds)})" if one.beside else as_time(one.seconds)


def _memory(one: Stage) -> str:
    return f"{_bytes(one.memory)}{' on the device' if one.where == 'device' else ''}"


def _bytes(size: float) -> str:
    return as_bytes(size) if size >= 1 else ""


def _cost(found: Plan, one: Stage) -> str:
    if one.seconds is None and not one.price:
        return "?"
    hours = 0.0 if one.beside else (one.seconds or 0.0) / 3600
    return f"{hours * (found.price_per_hour or 0.0) + one.price:,.2f}"


def _limits(found: Plan) -> Table:
    table = Table(title="the largest sizes, everything else as configured", title_justify="left")
    table.add_column("what")
    table.add_column("largest", justify="right")
    table.add_column("formula", overflow="fold")
    table.add_column("bound by")
    for one in found.limits:
        bound = one.bound
        if bound == "device" and found.device:
            bound = f"{found.device}, {_ASSUMED}"
        table.add_row(escape(one.what), f"{one.largest:,}", one.formula, bound)
    return table


def sentences(found: Plan) -> Iterator[str]:
    """Where the rates are from, and what is not in the plan."""
    rates = found.rates
    where = f"measured on {rates.hardware} on {rates.date}"
    if found.device:
        yield f"time on {found.device}: {_ASSUMED}; the processor's part: {where}"
    else:
        yield f"rates: {where}"
    if found.sizes.where is not None:
        yield f"lengths, and sizes that were not given: {found.sizes.where}"
    yield from found.notes

"""What a conversion shows a person."""

from __future__ import annotations

from .convert import Converted


def sentences(done: Converted) -> list[str]:
    """The guess, the counts, and a line for each field that was lost or made."""
    lines = [f"{done.path}: read as {done.format}; {done.rows:,} rows"]
    lines += [f"not kept: {what}: {count:,}" for what, count in done.lost.items()]
    lines += [f"made: {what}: {count:,}" for what, count in done.made.items()]
    if not done.lost:
        lines.append("nothing was lost")
    lines.append(f"wrote {done.out}: {done.records:,} records (--to {done.to})")
    return lines

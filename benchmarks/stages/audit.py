"""Auditing training rows, beside reading them once and hashing all texts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from common import Reading, measured
from stage import Stage

from stages.rows import FILE, NEGATIVES, WORDS, write_rows


def ours(folder: Path, size: int) -> Reading:
    from pyrite import audit

    warm = folder / "warm.jsonl"
    with (folder / FILE).open(encoding="utf-8") as handle:
        warm.write_text(handle.readline(), encoding="utf-8")
    audit(warm)
    with measured() as reading:
        found = audit(folder / FILE)
    assert (found.rows, found.negatives) == (size, size * NEGATIVES)
    return reading


def read_and_hash(folder: Path, size: int) -> Reading:
    with measured() as reading, (folder / FILE).open(encoding="utf-8") as lines:
        for line in lines:
            for text in json.loads(line).values():
                hashlib.blake2b(text.encode(), digest_size=8).digest()
    return reading


STAGE = Stage(
    "audit training rows",
    "rows",
    f"{NEGATIVES} negatives, {WORDS} words a text; ours reads twice and looks for near duplicates",
    (15_000, 30_000, 60_000),
    (500, 1000, 2000),
    write_rows,
    {"pyrite": ours, "read once, hash all texts": read_and_hash},
    frozenset({"read once, hash all texts"}),
)

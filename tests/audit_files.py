"""Training files on disk, and what an audit found in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrite.miner.audit import Audit
from pyrite.miner.audit_checks import Check


def write(folder: Path, *records: dict[str, Any], name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def flag(query: str, pos: Sequence[str], neg: Sequence[str], **more: Any) -> dict[str, Any]:
    return {"query": query, "pos": list(pos), "neg": list(neg), **more}


def found(result: Audit) -> dict[str, int]:
    return {check.name: count for check, count in result.counts.items() if count}


def places(result: Audit, check: Check) -> list[tuple[int, str]]:
    return [(e.line, e.where) for e in result.examples[check]]

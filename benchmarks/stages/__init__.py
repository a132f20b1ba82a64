"""The stages that `all.py` runs, one module each with a `STAGE`; imported one at a time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stage import Stage

NAMES = (
    "encode",
    "search_documents",
    "search_queries",
    "approximate",
    "choose",
    "mine_documents",
    "mine_queries",
    "refresh",
    "step",
    "measure",
    "convert",
    "audit",
)


def stage_of(name: str) -> Stage:
    """The stage in the module `stages.<name>`."""
    found: Stage = importlib.import_module(f"stages.{name}").STAGE
    return found

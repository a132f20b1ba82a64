"""The section `made`: negatives that a language model wrote, beside the mined ones."""

from __future__ import annotations

from pydantic import Field

from ..core.config import Section
from ..core.used import ALL, only


class MadeSection(Section):
    """Which made texts training uses, and how many; without a path none."""

    path: str | None = Field(
        None, min_length=1, description="the folder `made` that pyrite make wrote; null: none"
    )
    negatives: int = Field(
        1, ge=1, le=100, description="a row has of them, beside its mined ones and never without"
    )

    USED = (only(ALL, "path", off=None, instead="set {at}path"),)

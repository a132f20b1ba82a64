"""The part of the section `train` that says which texts meet in a step."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from ..core.config import Section
from ..core.used import Rules, only
from ..miner.ngame import DOUBLE_AT

Draw = Literal["static", "rotate", "sample", "replace"]
FIRST_REPLACEMENT = 10


class ReplaceSection(Section):
    """When negatives count as learned (Conan-embedding, arXiv 2408.15710)."""

    every: int = Field(100, ge=1, description="steps between checks; in force at the next check")
    ratio: float = Field(1.15, gt=0, description="replaced where ratio * score < score at first")
    ceiling: float = Field(0.8, gt=0, description="and the score's size is below this")


class NgameSection(Section):
    """How similar the rows of a batch are (NGAME, arXiv 2207.04452)."""

    double_at: tuple[int, ...] = Field(
        DOUBLE_AT, description="epochs from 0 at which clusters, of one row at first, double"
    )

    @field_validator("double_at")
    @classmethod
    def _not_negative(cls, epochs: tuple[int, ...]) -> tuple[int, ...]:
        if any(epoch < 0 for epoch in epochs):
            raise ValueError(f"train.ngame.double_at={list(epochs)}: epochs count from 0")
        return epochs


class DrawOptions(Section):
    """Which positive, which negatives, and which rows side by side."""

    positives: Literal["all", "one"] = Field(
        "all", description="a row for each pair, or one a query with a positive drawn each epoch"
    )
    draw: Draw = Field(
        "rotate", description="which train.negatives of those mined each epoch's rows get"
    )
    replace: ReplaceSection = ReplaceSection()
    batches: Literal["random", "ngame"] = Field(
        "random", description="ngame: rows with similar queries side by side"
    )
    ngame: NgameSection = NgameSection()

    USED: ClassVar[Rules] = (only("replace", "draw", "replace"), only("ngame", "batches", "ngame"))

"""The section `made`: negatives that a language model wrote, beside the mined ones."""

from __future__ import annotations

from pydantic import Field, model_validator

from ..core.config import Section, changed, refuse_unread


class MadeSection(Section):
    """Which made texts training uses, and how many; without a path none."""

    path: str | None = Field(
        None, min_length=1, description="the folder `made` that pyrite make wrote; null: none"
    )
    negatives: int = Field(
        1, ge=1, le=100, description="a row has of them, beside its mined ones and never without"
    )

    @model_validator(mode="after")
    def _used(self) -> MadeSection:
        if self.path is None:
            refuse_unread(changed(self), "made.path=null", "set made.path")
        return self

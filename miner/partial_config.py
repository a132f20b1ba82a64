"""The section `refresh.partial`: how little a refresh may encode."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..core.config import Section, changed, refuse_unread

PartialKind = Literal["off", "queries", "map", "choose"]
# what a kind makes no use of
_UNREAD: dict[PartialKind, set[str]] = {"queries": {"landmarks"}, "map": {"probe"}}


class PartialSection(Section):
    """What a refresh does for the documents; the queries are always encoded anew."""

    kind: PartialKind = Field(
        "off",
        description="off: encode all; queries: keep the stale vectors; map: encode a random sample"
        " and map the rest; choose: as map, and encode what is near many borders",
    )
    share: float = Field(0.2, gt=0, lt=1, description="of the documents that are encoded")
    probe: float = Field(
        0.25, gt=0, le=1, description="of that share, what is drawn at random; kind choose"
    )
    landmarks: int = Field(
        2048, ge=0, description="documents that the map is bent around; 0: a linear map"
    )
    depth: int = Field(100, ge=1, description="overlap is of the best this many documents")
    sample_queries: int = Field(500, ge=1, description="queries that overlap is estimated on")
    min_overlap: float | None = Field(
        None, gt=0, le=1, description="below this a full refresh is made, with a message"
    )

    @model_validator(mode="after")
    def _used(self) -> PartialSection:
        if self.kind == "off" and self.model_dump(exclude_defaults=True):
            raise ValueError("nothing of it has an effect while kind is off; set kind, as choose")
        unread = [key for key in changed(self) if key in _UNREAD.get(self.kind, ())]
        refuse_unread(unread, f"kind={self.kind}", "set kind=choose")
        return self

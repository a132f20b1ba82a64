"""The section `refresh.partial`: how little a refresh may encode."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.config import Section
from ..core.used import ALL, only

PartialKind = Literal["off", "queries", "map", "choose"]


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

    USED = (
        only(ALL, "kind", off="off", instead="set {at}kind, as choose"),
        only("landmarks", "kind", "map", "choose"),
        only("probe", "kind", "choose", "queries", instead="set {at}kind=choose"),
    )

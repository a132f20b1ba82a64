"""The section `refresh`: how negatives keep up with the model that is trained on them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.config import Section
from ..core.used import ALL, Used, only
from ..miner.partial_config import PartialSection
from .refresh_gate import GateSection
from .refresh_trigger import TriggerSection


class RefreshSection(Section):
    """Mining again with the weights in training (ANCE, arXiv 2007.00808)."""

    mode: Literal["off", "sync", "async"] = Field(
        "off", description="sync: training waits for each generation; async: a refresher makes them"
    )
    every_steps: int = Field(
        100, ge=1, description="steps between published weights, unless refresh.trigger decides"
    )
    max_age_steps: int | None = Field(
        None,
        ge=0,
        description="async: with older weights behind the negatives in use, and newer ones on their"
        " way, on_stale; 0 is sync step by step; null: never",
    )
    on_stale: Literal["wait", "stop", "warn"] = Field(
        "wait", description="what to do once max_age_steps is exceeded"
    )
    chunk: int = Field(
        1, ge=1, description="each generation mines one query of so many, in turn; 1: all"
    )
    rewarm: bool = Field(False, description="warm the learning rate up again after each swap")
    refresher: Literal["spawn", "external", "ray"] = Field(
        "spawn",
        description="async: a process beside the trainer, one started by hand with pyrite refresh"
        " RUN, or an actor of Ray with the resources of one worker",
    )
    device: str | None = Field(
        None, description="of the encoder that refreshes; null: encoder.device"
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None,
        description="of the encoder that refreshes; null: encoder.dtype. bfloat16 encodes several"
        " times as fast where the processor multiplies it",
    )
    keep: int = Field(2, ge=0, description="generations that stay though nothing needs them")
    cluster_rate: float = Field(
        1e-3,
        gt=0,
        le=1,
        description="how far 512 documents with new vectors move the centroids of filters.clusters",
    )
    partial: PartialSection = PartialSection()
    gate: GateSection = GateSection()
    trigger: TriggerSection = TriggerSection()

    USED = (
        only(ALL, "mode", off="off", instead="set {at}mode=sync or async"),
        # what has a meaning only where somebody else makes the generations
        only("max_age_steps on_stale refresher", "mode", "async"),
        only("on_stale", "max_age_steps", instead="set {at}max_age_steps"),
        Used(
            ("every_steps",),
            ("trigger.easy_share",),
            lambda section: section.trigger.easy_share is None,
            "set {at}trigger.min_steps in its place",
            "where {at}trigger.easy_share decides when",
        ),
    )

    @property
    def least_steps(self) -> int:
        """The fewest steps between two requests."""
        return self.every_steps if self.trigger.easy_share is None else self.trigger.min_steps

    @property
    def decisive(self) -> dict[str, object]:
        """What the trained weights depend on: part of the training's key."""
        return self.model_dump(mode="json", exclude={"refresher", "device", "keep"})


def steps_ahead(num_workers: int) -> int:
    """Steps after a border from which new negatives can be in force: those before are collated."""
    return 2 * num_workers + 2

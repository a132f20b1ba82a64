"""The section `refresh`: how negatives keep up with the model that is trained on them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..core.config import Section, refuse_unread
from ..miner.partial_config import PartialSection
from .refresh_gate import GateSection
from .refresh_trigger import TriggerSection

# what has a meaning only where somebody else makes the generations
_ASYNC_ONLY = ("max_age_steps", "on_stale", "refresher")


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
    refresher: Literal["spawn", "external"] = Field(
        "spawn", description="async: started by the trainer, or by hand with pyrite refresh RUN"
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

    @model_validator(mode="after")
    def _used(self) -> RefreshSection:
        given = sorted(self.model_dump(exclude_defaults=True))
        # one who writes mode=off switches a section off, one who does not has forgotten to
        if self.mode == "off" and given and "mode" not in self.model_fields_set:
            raise ValueError(
                f"refresh.{given[0]} has no effect without refresh.mode; set refresh.mode=sync or"
                " async, or off"
            )
        for name in _ASYNC_ONLY:
            if self.mode == "sync" and name in given:
                raise ValueError(
                    f"refresh.{name} has no effect with refresh.mode=sync, which waits for each"
                    " generation; remove it or set refresh.mode=async"
                )
        if self.max_age_steps is None and "on_stale" in given:
            refuse_unread(
                ["refresh.on_stale"], "refresh.max_age_steps=null", "set refresh.max_age_steps"
            )
        return self

    @model_validator(mode="after")
    def _one_rhythm(self) -> RefreshSection:
        # not what was set: a dumped configuration says all defaults
        given = self.model_dump(exclude_defaults=True)
        if self.trigger.easy_share is not None and "every_steps" in given:
            raise ValueError(
                f"every_steps={self.every_steps} with trigger.easy_share: the trigger decides when;"
                " remove every_steps, and see trigger.min_steps"
            )
        return self

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

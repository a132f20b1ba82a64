"""Settings of samplers for tests that try them all."""

from __future__ import annotations

from typing import Any

from pyrite.core.config import LATER
from pyrite.core.used import idle_here
from pyrite.miner.samplers import SamplerPart


def fitting(**fields: Any) -> dict[str, Any]:
    """The fields of a sampler without those that the sampler they name does not read."""
    part = SamplerPart.model_validate(fields, context=LATER)
    idle = {one.key for one in idle_here(part)}
    return {key: value for key, value in fields.items() if key not in idle}

"""One stage of a plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Basis = Literal["measured", "assumed", "unknown"]
Where = Literal["host", "device"]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage takes.

    `seconds` is None where there is no formula or no rate. `disk` bytes stay, `scratch` bytes are
    there beside them only while the stage runs. `memory` is a bound or an estimate of the bytes
    beside mapped files, on the `where`. `price` is money for calls of judges, not for time. A stage
    that runs `beside` others adds no time to the whole.
    """

    verb: str
    name: str
    amount: str
    seconds: float | None
    basis: Basis
    formula: str
    disk: float = 0.0
    scratch: float = 0.0
    memory: float = 0.0
    where: Where = "host"
    price: float = 0.0
    beside: bool = False

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)

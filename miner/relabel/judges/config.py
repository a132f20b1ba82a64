"""Settings of each kind of judge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ....core.config import Section
from ....core.cross_encoder import CrossEncoderConfig
from ....core.server.config import ServerConfig
from ..price import Price
from ..prompt import PromptConfig
from .calibration import NUMBERS_ARE_USED

Structured = Literal["auto", "json_schema", "json_object", "none"]


class ChatModelConfig(ServerConfig):
    """A language model on a server with an OpenAI-compatible `/chat/completions`."""

    price: Price = Price()
    temperature: float | None = Field(0.0, ge=0, le=2, description="null: not sent")
    structured: Structured = Field(
        "auto", description="auto: json_schema until the server refuses it"
    )
    reply_tokens: int = Field(
        2048, ge=16, description="most tokens of a reply; doubled each time it is asked for again"
    )
    limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="what the server calls that limit"
    )
    reply_retries: int = Field(2, ge=0, le=10, description="of a reply that cannot be used")
    most_failures: int = Field(
        20, ge=1, description="calls in a row that bring nothing before the run stops"
    )


class ChatConfig(ChatModelConfig, PromptConfig):
    """A language model on a server, as a judge."""


class LocalModelConfig(Section):
    """A causal language model of transformers, on this machine."""

    model: str | None = Field(None, min_length=1, description="a path or a hub id")
    revision: str | None = Field(None, description="of a hub id; null: the newest")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number type of the weights; auto: the one they are stored in"
    )
    device: str = Field("cpu", description="a torch device")
    reply_tokens: int = Field(
        2048, ge=16, description="most tokens of a reply; doubled each time it is asked for again"
    )
    reply_retries: int = Field(2, ge=0, le=10, description="of a reply that cannot be used")


class LocalConfig(LocalModelConfig, PromptConfig):
    """A language model on this machine, as a judge."""


class CrossConfig(CrossEncoderConfig):
    """A cross-encoder whose score s stands for the probability sigmoid((s - bias) / temperature).

    A probability from `high` on is "relevant", below `low` "not relevant"; between them the judge
    abstains.
    """

    model: str | None = Field(None, min_length=1, description="a path or a hub id")
    bias: float = Field(0.0, description="the score that is as likely relevant as not")
    temperature: float = Field(1.0, gt=0, description="scores are divided by it")
    calibration: str | None = Field(
        None, description="a file by pyrite calibrate, in the place of bias and temperature"
    )
    low: float = Field(0.1, ge=0, le=1, description="below it: not relevant")
    high: float = Field(0.9, ge=0, le=1, description="from it on: relevant")

    USED = (NUMBERS_ARE_USED,)

    @model_validator(mode="after")
    def _band(self) -> CrossConfig:
        if self.low > self.high:
            raise ValueError(
                f"low={self.low:g} is over high={self.high:g}: a document would be both relevant"
                " and not; lower low"
            )
        return self

"""The section `reranker`: which cross-encoder to train, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.cross_encoder import CrossEncoderConfig
from ..core.sbert import BUNDLED
from .train_config import Schedule

Loss = Literal["binary-cross-entropy", "lambda", "list-net"]


class RerankerSection(Schedule, CrossEncoderConfig):
    """A cross-encoder to train: `pyrite train` with `train.kind: cross-encoder`."""

    model: str = Field(
        BUNDLED,
        min_length=1,
        description="where it starts: a cross-encoder of one label or an encoder; path or hub id",
    )
    max_length: int = Field(
        256, ge=8, le=32768, description="tokens of query and document; longer pairs are truncated"
    )
    loss: Loss = Field(
        "binary-cross-entropy",
        description="a batch counts pairs; lambda and list-net: queries with all their documents",
    )
    depth: int = Field(100, ge=1, description="candidates of each held-out query to rerank")

"""Settings of each kind of encoder; the sections of `encoder` that only its kind reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..config import Section
from ..server.config import ServerConfig

EncoderKind = Literal["sentence-transformers", "onnx", "callable", "precomputed", "openai"]


class OnnxConfig(Section):
    """ONNX Runtime on the CPU; the graph is exported from `encoder.model` and cached."""

    precision: Literal["float32", "int8"] = Field(
        "float32", description="int8: weights and activations, quantised dynamically"
    )


class CallableConfig(Section):
    """A Python function from a list of texts to an array [len(texts), D]."""

    function: str | None = Field(None, description="package.module:function, on PYTHONPATH")
    query_function: str | None = Field(None, description="for queries; null: the same function")
    fingerprint: str | None = Field(
        None,
        min_length=1,
        coerce_numbers_to_str=True,
        description="names what the functions compute: change it when they do",
    )
    dimension: int | None = Field(None, ge=1, description="D; null: asked of the function once")


class PrecomputedConfig(Section):
    """Vectors from `.npy` files, float32 or float16, one row for each line of the `.jsonl`."""

    corpus: str | None = Field(None, description=".npy [N, D] of the corpus")
    queries: str | None = Field(None, description=".npy [Q, D] of the queries")
    corpus_ids: str | None = Field(
        None, description="ids of the rows, .txt or .npy; null: the order of corpus.jsonl"
    )
    queries_ids: str | None = Field(None, description="as above; null: the order of queries.jsonl")


class OpenAIConfig(ServerConfig):
    """A server with an OpenAI-compatible `/embeddings`.

    What the server computes cannot be seen from here: a cached vector is taken for as long as
    model, dimensions, prompts, `max_chars` and `revision` stay the same, wherever the server
    stands. Change `revision` when its weights change.
    """

    dimensions: int | None = Field(None, ge=1, description="asked of the server; null: its own")
    max_chars: int | None = Field(None, ge=1, description="cut texts there; null: sent whole")
    request_texts: int = Field(128, ge=1, le=2048, description="texts in one request")
    request_tokens: int = Field(
        8192, ge=1, description="tokens in one request, taken as UTF-8 bytes / 4"
    )

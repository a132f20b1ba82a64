"""Settings of each kind of encoder; the sections of `encoder` that only its kind reads."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ..config import Section

EncoderKind = Literal["sentence-transformers", "onnx", "callable", "precomputed", "openai"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
        None, min_length=1, description="names what the functions compute: change it when they do"
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


class OpenAIConfig(Section):
    """A server with an OpenAI-compatible `/embeddings`.

    What the server computes cannot be seen from here: a cached vector is taken for as long as
    model, dimensions, prompts, `max_chars` and `revision` stay the same, wherever the server
    stands. Change `revision` when its weights change.
    """

    base_url: str | None = Field(None, description="up to and with /v1")
    model: str | None = Field(None, min_length=1, description="the server's name of the model")
    revision: str = Field("", description="your name for the server's weights, in the cache key")
    api_key_env: str | None = Field(
        None, description="environment variable that holds the key; null: no key"
    )
    dimensions: int | None = Field(None, ge=1, description="asked of the server; null: its own")
    max_chars: int | None = Field(None, ge=1, description="cut texts there; null: sent whole")
    request_texts: int = Field(128, ge=1, le=2048, description="texts in one request")
    request_tokens: int = Field(
        8192, ge=1, description="tokens in one request, taken as UTF-8 bytes / 4"
    )
    concurrency: int = Field(4, ge=1, le=256, description="requests under way at once")
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1, description="taken as UTF-8 bytes / 4")
    max_retries: int = Field(6, ge=0, le=100, description="of one request; waits double, 0.5 s on")
    timeout_s: float = Field(60.0, gt=0, le=3600, description="seconds of silence in a request")

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        # whatever stands here is printed and recorded, so it must not be able to hold a secret
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("a user, a password or a query in the address; use api_key_env")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not an address; expected the form http://host:port/v1")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _variable_name(cls, name: str | None) -> str | None:
        # no echo of the value: it may be the key itself
        if name is not None and not _VARIABLE.fullmatch(name):
            raise ValueError("not the name of an environment variable; never put the key here")
        return name

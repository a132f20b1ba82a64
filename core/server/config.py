"""Where a server stands and how fast it may be asked."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ..config import Section

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ServerConfig(Section):
    """A server that the official `openai` client can talk to."""

    base_url: str | None = Field(None, description="up to and with /v1")
    model: str | None = Field(None, min_length=1, description="the server's name of the model")
    revision: str = Field(
        "",
        coerce_numbers_to_str=True,
        description="your name for the server's weights, part of the cache key",
    )
    api_key_env: str | None = Field(
        None, description="environment variable that holds the key; null: no key"
    )
    concurrency: int = Field(4, ge=1, le=256, description="requests under way at once")
    requests_per_minute: int | None = Field(None, ge=1, description="null: no limit")
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

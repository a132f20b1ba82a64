"""What a server's answer means: vectors, or a failure with its remedy."""

from __future__ import annotations

import email.utils
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..encoder import F32
from .common import bad_rows

if TYPE_CHECKING:
    from .config import OpenAIConfig

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_NO_CONTACT = frozenset({"ConnectError", "ConnectTimeout"})
_LONGEST_MESSAGE = 200
_CHECK_SERVER = "check that the server is up and encoder.openai.base_url"
_CHECK_REPLY = "check that encoder.openai.model is an embedding model of this server"


class Failure(Exception):
    """A request that brought no vectors: why, what helps, whether and when to send it again.

    `reason` continues a sentence that begins with the server's address; `wait_s` is the
    server's Retry-After in seconds, 0 without one.
    """

    def __init__(self, reason: str, advice: str, again: bool = True, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice
        self.again = again
        self.wait_s = wait_s


def from_exception(error: Any, section: OpenAIConfig, reached: bool) -> Failure:
    """The failure behind an exception of the client (openai.APIError).

    `reached` tells whether the server ever answered: one that did may be restarting, one that
    did not is more likely a wrong address, and is not waited for.
    """
    import openai

    cause = type(error.__cause__).__name__
    if cause in _NO_CONTACT:
        return Failure(f"cannot be reached ({error.__cause__})", _CHECK_SERVER, again=reached)
    if isinstance(error, openai.APITimeoutError):
        return Failure(
            f"did not answer within {section.timeout_s:g} s",
            "raise encoder.openai.timeout_s or lower encoder.openai.request_texts",
        )
    if isinstance(error, openai.APIStatusError):
        status = int(error.status_code)
        message = _message(error)
        return Failure(
            f"answered {status}" + (f" ({message})" if message else ""),
            _advice(status),
            status in _AGAIN,
            retry_after(error.response.headers.get("retry-after")),
        )
    return Failure(f"broke the connection ({cause})", _CHECK_SERVER)


def _advice(status: int) -> str:
    if status in {401, 403}:
        return "set encoder.openai.api_key_env to the variable that holds a valid key"
    if status == 404:
        return "check encoder.openai.base_url (it ends with /v1) and encoder.openai.model"
    if status == 429:
        return "set encoder.openai.requests_per_minute or .tokens_per_minute to your limits"
    if status < 500:
        return "check encoder.openai.model, .dimensions, .max_chars and .request_tokens"
    return "raise encoder.openai.max_retries or lower encoder.openai.concurrency"


def _message(error: Any) -> str:
    body = error.body
    if isinstance(body, dict):
        body = next((body[k] for k in ("message", "detail", "error") if body.get(k)), "")
    text = " ".join(str(body or "").split())
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."


def retry_after(value: str | None) -> float:
    """Seconds to wait by a Retry-After header, a number or an HTTP date; 0 where it says none."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if np.isfinite(seconds) else 0.0


def vectors_from(body: bytes, rows: int) -> F32:
    """The vectors of a reply in the order of the request, float32 [rows, D].

    Raises Failure for anything but one finite vector of equal width for each index below `rows`.
    """
    try:
        items = json.loads(body)["data"]
        indices = [int(item["index"]) for item in items]
        vectors = np.array([item["embedding"] for item in items], dtype=np.float32)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Failure("sent a reply that is not a list of embeddings", _CHECK_REPLY) from None
    if sorted(indices) != list(range(rows)):
        missing = sorted(set(range(rows)) - set(indices))
        detail = f"none for text {missing[0]}" if missing else f"{len(indices)} vectors"
        raise Failure(
            f"answered {rows} texts with wrong indices ({detail})",
            "lower encoder.openai.request_texts, or report it to whoever runs the server",
        )
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise Failure("sent embeddings that are not vectors", _CHECK_REPLY)
    bad = bad_rows(vectors)
    if bad.size:
        raise Failure(
            f"returned NaN or infinity for {bad.size} of {rows} texts",
            "check the server's dtype, or set encoder.openai.max_chars to what its model takes",
        )
    return np.ascontiguousarray(vectors[np.argsort(indices, kind="stable")])

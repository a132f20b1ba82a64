"""Why a request brought nothing, what helps, and whether to send it again."""

from __future__ import annotations

import email.utils
import math
import time
from dataclasses import dataclass
from typing import Any

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_NO_CONTACT = frozenset({"ConnectError", "ConnectTimeout"})
_LONGEST_MESSAGE = 200


@dataclass(frozen=True, slots=True)
class Knobs:
    """The settings that errors name: `section` of the configuration, and what is special to it.

    `smaller` says how to make a request smaller, `rejected` what to check after an answer 4xx.
    """

    section: str
    smaller: str
    rejected: str


class Failure(Exception):
    """A request that brought nothing: why, what helps, whether and when to send it again.

    `reason` continues a sentence that begins with the server's address; `wait_s` is the
    server's Retry-After in seconds, 0 without one; `status` is that of the answer, 0 without one.
    """

    def __init__(
        self, reason: str, advice: str, again: bool = True, wait_s: float = 0.0, status: int = 0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice
        self.again = again
        self.wait_s = wait_s
        self.status = status


def from_exception(error: Any, knobs: Knobs, timeout_s: float, reached: bool) -> Failure:
    """The failure behind an exception of the client (openai.APIError).

    `reached` tells whether the server ever answered: one that did may be restarting, one that
    did not is more likely a wrong address, and is not waited for.
    """
    import openai

    check = f"check that the server is up and {knobs.section}.base_url"
    cause = type(error.__cause__).__name__
    if cause in _NO_CONTACT:
        return Failure(f"cannot be reached ({error.__cause__})", check, again=reached)
    if isinstance(error, openai.APITimeoutError):
        return Failure(
            f"did not answer within {timeout_s:g} s",
            f"raise {knobs.section}.timeout_s or {knobs.smaller}",
        )
    if isinstance(error, openai.APIStatusError):
        status = int(error.status_code)
        message = _message(error)
        return Failure(
            f"answered {status}" + (f" ({message})" if message else ""),
            _advice(status, knobs),
            status in _AGAIN,
            retry_after(error.response.headers.get("retry-after")),
            status,
        )
    return Failure(f"broke the connection ({cause})", check)


def _advice(status: int, knobs: Knobs) -> str:
    section = knobs.section
    if status in {401, 403}:
        return f"set {section}.api_key_env to the variable that holds a valid key"
    if status == 404:
        return f"check {section}.base_url (it ends with /v1) and {section}.model"
    if status == 429:
        return f"set {section}.requests_per_minute or .tokens_per_minute to your limits"
    if status < 500:
        return knobs.rejected
    return f"raise {section}.max_retries or lower {section}.concurrency"


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
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0

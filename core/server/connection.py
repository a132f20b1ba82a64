"""One server behind the official client: paced, retried, and its key told to nobody."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from ..encoders.common import require
from ..errors import PyriteError
from .config import ServerConfig
from .failures import Failure, Knobs, from_exception
from .limits import RateLimiter

T = TypeVar("T")

logger = logging.getLogger(__name__)

BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 60.0
_LONGEST_WAIT_S = 600.0  # a server that asks for more is reported, not waited for
_CONNECT_S = 3.0


class GivenUp(PyriteError):
    """A request failed for good; `failure` is the last one."""

    def __init__(self, sentence: str, failure: Failure) -> None:
        super().__init__(sentence)
        self.failure = failure


class Connection:
    """Sends requests, from several threads at once.

    A failed request is sent again after 0.5, 1, 2 ... seconds or after the server's Retry-After,
    which holds back the other requests too. The key is read from the environment and handed to
    the client alone.
    """

    def __init__(self, config: ServerConfig, feature: str, knobs: Knobs) -> None:
        """Connects to nothing yet.

        Raises PyriteError without an address, a model or the key's environment variable, and
        MissingExtraError without the package `openai`; `feature` is what needs them.
        """
        require(feature, "openai", "openai")
        if config.base_url is None or config.model is None:
            raise PyriteError(
                f"{feature} needs {knobs.section}.base_url (http://host:port/v1) and"
                f" {knobs.section}.model"
            )
        self._config = config
        self._knobs = knobs
        self._key = _key(config.api_key_env, knobs.section)
        self.client = _client(config, self._key)
        self._limiter = RateLimiter(config.requests_per_minute, config.tokens_per_minute)
        self._reached = False

    def send(self, ask: Callable[[], T], tokens: int, stop: threading.Event) -> T:
        """What `ask` returns; called again while a failure may pass.

        `ask` uses `client` and may raise Failure itself. Raises GivenUp at a failure that cannot
        pass or has lasted for all tries, and CancelledError as soon as `stop` is set.
        """
        tries = self._config.max_retries + 1
        for attempt in range(tries):
            self._sleep(self._limiter.reserve(tokens), stop)
            try:
                return self._once(ask)
            except Failure as failure:
                hopeless = not failure.again or failure.wait_s > _LONGEST_WAIT_S
                if hopeless or attempt + 1 == tries:
                    raise self._given_up(failure, attempt + 1) from None
                wait = self._back_off(failure, attempt)
                logger.warning(
                    "%s %s; trying again in %.1f s (%d of %d)",
                    self._config.base_url,
                    self.redacted(failure.reason),
                    wait,
                    attempt + 1,
                    tries - 1,
                )
                self._sleep(wait, stop)
        raise AssertionError("the last try returns or raises")

    def redacted(self, text: str) -> str:
        """`text` without the key."""
        return text if self._key is None else text.replace(self._key, "[key]")

    def _once(self, ask: Callable[[], T]) -> T:
        import openai

        try:
            reply = ask()
        except openai.APIError as error:
            failure = from_exception(error, self._knobs, self._config.timeout_s, self._reached)
            self._reached = self._reached or isinstance(error, openai.APIStatusError)
            raise failure from None
        except Failure:
            self._reached = True
            raise
        self._reached = True
        return reply

    def _back_off(self, failure: Failure, attempt: int) -> float:
        if failure.wait_s:
            self._limiter.pause(failure.wait_s)
            return failure.wait_s
        longest = min(BACKOFF_S * 2.0**attempt, _LONGEST_BACKOFF_S)
        # spread, so that requests that failed together do not come back together
        return longest * random.uniform(0.75, 1.0)

    def _sleep(self, seconds: float, stop: threading.Event) -> None:
        if stop.wait(seconds) if seconds > 0 else stop.is_set():
            raise CancelledError

    def _given_up(self, failure: Failure, tries: int) -> GivenUp:
        times = "" if tries == 1 else f" to each of {tries} tries"
        wait = ""
        if failure.wait_s > _LONGEST_WAIT_S:
            wait = f" and asks to wait {failure.wait_s:.0f} s, over the limit {_LONGEST_WAIT_S:.0f}"
        reason = self.redacted(failure.reason)
        return GivenUp(f"{self._config.base_url} {reason}{wait}{times}; {failure.advice}", failure)


def _key(variable: str | None, section: str) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise PyriteError(
            f"{section}.api_key_env={variable}: this environment variable is not set;"
            f" export it, or set {section}.api_key_env=null for a server without keys"
        )
    return key


def _client(config: ServerConfig, key: str | None) -> Any:
    import openai

    client = openai.OpenAI(
        base_url=config.base_url,
        api_key=key or "none",  # the client insists on one
        max_retries=0,
        timeout=openai.Timeout(config.timeout_s, connect=min(config.timeout_s, _CONNECT_S)),
    )
    # read from the environment for the vendor's own server, and no business of any other
    client.organization = None
    client.project = None
    return client

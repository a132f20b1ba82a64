"""Encoding on an OpenAI-compatible server, through the official client."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import numpy as np

from ..digest import digest_json
from ..encoder import F32, Role
from ..errors import PyriteError
from ..ids import I64
from .common import approximate_lengths, require, unit_rows
from .limits import RateLimiter
from .parallel import in_order
from .replies import Failure, from_exception, vectors_from

if TYPE_CHECKING:
    from ..sbert import EncoderConfig
    from .config import OpenAIConfig

logger = logging.getLogger(__name__)

_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 60.0
_LONGEST_WAIT_S = 600.0  # a server that asks for more is reported, not waited for
_CONNECT_S = 3.0
_PROBE = "dimension"


class OpenAIEncoder:
    """An `Encoder` that asks a server; `concurrency` requests are under way at once.

    Texts go out in requests of at most `request_texts` texts and about `request_tokens` tokens.
    A failed request is sent again after 0.5, 1, 2 ... seconds or after the server's Retry-After,
    which holds back the other requests too. The key is read from the environment and handed to
    the client alone. An empty text is sent as a blank, since servers refuse empty ones.
    """

    def __init__(self, config: EncoderConfig) -> None:
        """Connects to nothing yet.

        Raises PyriteError without an address, a model or the key's environment variable, and
        MissingExtraError without the package `openai`.
        """
        require("encoder.kind=openai", "openai", "openai")
        section = config.openai
        if section.base_url is None or section.model is None:
            raise PyriteError(
                "encoder.kind=openai needs encoder.openai.base_url (http://host:port/v1) and"
                " encoder.openai.model"
            )
        self._section = section
        self._normalize = config.normalize
        self._prompts: dict[Role, str] = {
            "query": config.query_prompt or "",
            "document": config.document_prompt or "",
        }
        self._key = _key(section.api_key_env)
        self._client = _client(section, self._key)
        self._limiter = RateLimiter(section.requests_per_minute, section.tokens_per_minute)
        self._dimension = section.dimensions
        self._reached = False
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        """D: `encoder.openai.dimensions`, or what the server answers to one short text."""
        if self._dimension is None:
            self._send([_PROBE], threading.Event())
        assert self._dimension is not None
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Digest of what shapes a vector as far as it can be known here; never of the address."""
        section = self._section
        return digest_json(
            {
                "kind": "openai",
                "model": section.model,
                "revision": section.revision,
                "dimensions": section.dimensions,
                "max_chars": section.max_chars,
                "prompts": [self._prompts["query"], self._prompts["document"]],
                "normalize": self._normalize,
            }
        )

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        """Approximate tokens, a quarter of the UTF-8 bytes; int64 [len(texts)]."""
        return approximate_lengths(self._inputs(texts, role))

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return next(self.encode_batches([texts], "query"))

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return next(self.encode_batches([texts], "document"))

    def encode_batches(self, batches: Iterable[Sequence[str]], role: Role) -> Iterator[F32]:
        """Vectors of each batch, float32 [len(batch), D], in the order of the batches."""
        listed = [self._inputs(batch, role) for batch in batches]
        requests = [self._requests(batch) for batch in listed]
        stop = threading.Event()
        replies = in_order(
            lambda texts: self._send(texts, stop),
            (request for batch in requests for request in batch),
            self._section.concurrency,
            stop.set,
        )
        for batch in requests:
            parts = [next(replies) for _ in batch]
            empty = np.empty((0, self.dimension), dtype=np.float32)
            vectors = np.concatenate([empty, *parts])
            yield unit_rows(vectors) if self._normalize else vectors

    def _inputs(self, texts: Sequence[str], role: Role) -> list[str]:
        limit = self._section.max_chars
        return [(self._prompts[role] + text)[:limit] or " " for text in texts]

    def _requests(self, texts: Sequence[str]) -> list[list[str]]:
        """Cut texts into requests, in order; a text over the token limit goes alone."""
        found: list[list[str]] = []
        tokens = 0
        for text, length in zip(texts, approximate_lengths(texts).tolist(), strict=True):
            fits = tokens + length <= self._section.request_tokens
            if not found or not fits or len(found[-1]) == self._section.request_texts:
                found.append([])
                tokens = 0
            found[-1].append(text)
            tokens += length
        return found

    def _send(self, texts: list[str], stop: threading.Event) -> F32:
        """Vectors of one request, float32 [len(texts), D]; sent again while that can help."""
        tokens = int(approximate_lengths(texts).sum())
        tries = self._section.max_retries + 1
        for attempt in range(tries):
            self._sleep(self._limiter.reserve(tokens), stop)
            try:
                return self._ask(texts)
            except Failure as failure:
                hopeless = not failure.again or failure.wait_s > _LONGEST_WAIT_S
                if hopeless or attempt + 1 == tries:
                    raise self._reported(failure, attempt + 1) from None
                wait = self._back_off(failure, attempt)
                logger.warning(
                    "%s %s; trying again in %.1f s (%d of %d)",
                    self._section.base_url,
                    self._redacted(failure.reason),
                    wait,
                    attempt + 1,
                    tries - 1,
                )
                self._sleep(wait, stop)
        raise AssertionError("the last try returns or raises")

    def _ask(self, texts: list[str]) -> F32:
        import openai

        section = self._section
        optional = {} if section.dimensions is None else {"dimensions": section.dimensions}
        try:
            reply = self._client.embeddings.with_raw_response.create(
                model=section.model, input=texts, encoding_format="float", **optional
            )
        except openai.APIError as error:
            failure = from_exception(error, section, self._reached)
            self._reached = self._reached or isinstance(error, openai.APIStatusError)
            raise failure from None
        self._reached = True
        vectors = vectors_from(reply.content, len(texts))
        with self._lock:
            if self._dimension is None:
                self._dimension = int(vectors.shape[1])
        if vectors.shape[1] != self._dimension:
            raise Failure(
                f"returned vectors of {vectors.shape[1]} numbers, expected {self._dimension}",
                "set encoder.openai.dimensions to what the model has, or to null",
            )
        return vectors

    def _back_off(self, failure: Failure, attempt: int) -> float:
        if failure.wait_s:
            self._limiter.pause(failure.wait_s)
            return failure.wait_s
        longest = min(_BACKOFF_S * 2.0**attempt, _LONGEST_BACKOFF_S)
        # spread, so that requests that failed together do not come back together
        return longest * random.uniform(0.75, 1.0)

    def _sleep(self, seconds: float, stop: threading.Event) -> None:
        if stop.wait(seconds) if seconds > 0 else stop.is_set():
            raise CancelledError

    def _reported(self, failure: Failure, tries: int) -> PyriteError:
        times = "" if tries == 1 else f" to each of {tries} tries"
        wait = ""
        if failure.wait_s > _LONGEST_WAIT_S:
            wait = f" and asks to wait {failure.wait_s:.0f} s, over the limit {_LONGEST_WAIT_S:.0f}"
        reason = self._redacted(failure.reason)
        return PyriteError(f"{self._section.base_url} {reason}{wait}{times}; {failure.advice}")

    def _redacted(self, text: str) -> str:
        return text if self._key is None else text.replace(self._key, "[key]")


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise PyriteError(
            f"encoder.openai.api_key_env={variable}: this environment variable is not set;"
            " export it, or set encoder.openai.api_key_env=null for a server without keys"
        )
    return key


def _client(section: OpenAIConfig, key: str | None) -> Any:
    import openai

    client = openai.OpenAI(
        base_url=section.base_url,
        api_key=key or "none",  # the client insists on one
        max_retries=0,
        timeout=openai.Timeout(section.timeout_s, connect=min(section.timeout_s, _CONNECT_S)),
    )
    # read from the environment for the vendor's own server, and no business of any other
    client.organization = None
    client.project = None
    return client

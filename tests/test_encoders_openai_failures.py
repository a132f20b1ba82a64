from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from embedding_server import (
    KEY,
    TEXTS,
    WIDTH,
    Behaviour,
    Reply,
    Server,
    duplicate,
    expected,
    garbage,
    hang_up,
    made,
    missing,
    narrow,
    poisoned,
    ragged,
    serving,
    settings,
    slow,
    status,
)

from pyrite.core.encoders.openai import OpenAIEncoder
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig
from pyrite.core.server import connection
from pyrite.core.server.failures import Knobs, from_exception, retry_after

openai = pytest.importorskip("openai", reason="the extra `openai` is not installed")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as running:
        yield running


def sentence(server: Server, **fields: Any) -> str:
    with pytest.raises(PyriteError) as caught:
        made(server, **fields).encode_documents(TEXTS[:3])
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(server.url)
    return text


@pytest.mark.parametrize(
    "trouble",
    [
        [status(500)],
        [status(503), status(429)],
        [status(502), hang_up],
        [hang_up],
        [narrow],
        [missing],
        [duplicate],
        [poisoned],
        [ragged, garbage],
    ],
    ids=lambda v: "-".join(getattr(b, "__name__", "status") for b in v),
)
def test_passing_trouble_is_overcome(server: Server, trouble: list[Behaviour]) -> None:
    encoder = made(server, dimensions=WIDTH)
    server.script = list(trouble)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), expected(TEXTS), atol=1e-6)
    assert len(server.asked) == len(trouble) + 1


def test_a_slow_reply_is_asked_for_again(server: Server) -> None:
    server.script = [slow]
    found = made(server, timeout_s=0.5).encode_documents(TEXTS)
    np.testing.assert_allclose(found, expected(TEXTS), atol=1e-6)
    assert len(server.asked) >= 2


def test_retry_after_is_waited_for_by_every_request(server: Server) -> None:
    server.script = [status(429, Retry_After="0.8")]
    encoder = made(server, request_texts=1, concurrency=2)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS[:6]), expected(TEXTS[:6]), atol=1e-6)
    waited = [at - server.times[0] for at in server.times[1:]]
    # the second request may have left before the first was refused
    assert sum(wait >= 0.8 for wait in waited) >= len(waited) - 2
    assert max(waited) < 10
    assert len(server.asked) == 7


def test_back_off_doubles(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF_S", 0.1)
    server.script = [status(500)] * 3
    made(server, max_retries=3).encode_documents(["x"])
    waits = np.diff(server.times)
    assert (waits >= [0.075, 0.15, 0.3]).all()
    assert waits.sum() < 5


@pytest.mark.parametrize(
    ("behaviour", "said", "knob"),
    [
        (status(429, "rate limit"), "answered 429 (rate limit)", "requests_per_minute"),
        (status(500), "answered 500 to each of 3 tries", "max_retries"),
        (status(503, "starting"), "answered 503 (starting)", "concurrency"),
        (narrow, "vectors of 7 numbers, expected 8", "dimensions"),
        (missing, "wrong indices (none for text 2)", "request_texts"),
        (duplicate, "wrong indices (none for text 1)", "request_texts"),
        (poisoned, "NaN or infinity for 1 of 3 texts", "max_chars"),
        (ragged, "not a list of embeddings", "model"),
        (garbage, "not a list of embeddings", "model"),
        (hang_up, "broke the connection", "base_url"),
    ],
)
def test_lasting_trouble_is_one_sentence_after_the_last_try(
    server: Server, behaviour: Behaviour, said: str, knob: str
) -> None:
    server.default = behaviour
    text = sentence(server, dimensions=WIDTH)
    assert said in text
    assert f"encoder.openai.{knob}" in text or f".{knob}" in text
    assert "to each of 3 tries" in text
    assert len(server.asked) == 3


def test_lasting_silence_names_the_time_limit(server: Server) -> None:
    server.default = slow
    text = sentence(server, timeout_s=0.1, max_retries=1)
    assert "did not answer within 0.1 s to each of 2 tries; raise encoder.openai.timeout_s" in text


@pytest.mark.parametrize(
    ("code", "knob"), [(401, "api_key_env"), (403, "api_key_env"), (404, "/v1"), (400, "max_chars")]
)
def test_a_refusal_is_not_repeated(server: Server, code: int, knob: str) -> None:
    server.default = status(code, f"no: {KEY}\nis bad " + "x" * 500)
    text = sentence(server)
    assert f"answered {code} (no: [key] is bad xxx" in text
    assert knob in text
    assert len(text) < 500
    assert len(server.asked) == 1


def test_a_wait_without_end_is_reported_and_not_waited_for(server: Server) -> None:
    server.default = status(429, Retry_After="86400")
    started = time.monotonic()
    assert "asks to wait 86400 s, over the limit 600" in sentence(server)
    assert time.monotonic() - started < 8
    assert len(server.asked) == 1


def test_one_failure_wakes_the_requests_that_wait(server: Server) -> None:
    both = threading.Event()

    def busy(_: dict[str, Any]) -> Reply:
        both.wait(20)
        return status(429, Retry_After="60")({})

    def refused(_: dict[str, Any]) -> Reply:
        both.set()
        time.sleep(0.2)
        return status(401, "who are you")({})

    server.script = [busy, refused]
    started = time.monotonic()
    with pytest.raises(PyriteError, match="answered 401"):
        made(server, request_texts=1, concurrency=2).encode_documents(TEXTS)
    assert time.monotonic() - started < 30
    assert len(server.asked) == 2


def test_an_unreachable_server_is_reported_in_seconds() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        url = f"http://127.0.0.1:{gone.server_address[1]}/v1"
    config = EncoderConfig(kind="openai", openai=settings(url, api_key_env=None, max_retries=5))
    started = time.monotonic()
    with pytest.raises(PyriteError, match="cannot be reached") as caught:
        OpenAIEncoder(config).encode_documents(["x"])
    assert time.monotonic() - started < 8
    assert str(caught.value).startswith(url)
    assert "encoder.openai.base_url" in str(caught.value)


@pytest.mark.parametrize("name", ["ConnectError", "ConnectTimeout"])
def test_only_a_server_that_once_answered_may_be_away(name: str) -> None:
    request: Any = SimpleNamespace()
    error = openai.APITimeoutError(request)
    error.__cause__ = type(name, (Exception,), {})("nobody there")
    for reached in (False, True):
        failure = from_exception(error, Knobs("s", "", ""), 5.0, reached)
        assert failure.again is reached
        assert failure.reason == "cannot be reached (nobody there)"


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after(None) == retry_after("soon") == retry_after("-3") == retry_after("nan") == 0
    later = email.utils.formatdate(time.time() + 90, usegmt=True)
    assert 85 < retry_after(later) <= 91
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_the_width_of_the_first_reply_holds_for_all(server: Server) -> None:
    encoder = made(server)
    assert encoder.dimension == WIDTH
    assert len(server.asked) == 1
    server.default = narrow
    with pytest.raises(PyriteError, match="vectors of 7 numbers, expected 8"):
        encoder.encode_documents(["x"])

"""An OpenAI-compatible embedding server on 127.0.0.1 that misbehaves on demand."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from pyrite.core.digest import u64
from pyrite.core.encoder import F32
from pyrite.core.encoders.config import OpenAIConfig
from pyrite.core.encoders.openai import OpenAIEncoder
from pyrite.core.sbert import EncoderConfig
from pyrite.core.server import connection

KEY = "sk-very-secret-0123456789"
WIDTH = 8
TEXTS = [f"text number {i} " + "word " * (i % 7) for i in range(23)]

Reply = tuple[int, dict[str, str], bytes]
Behaviour = Callable[[dict[str, Any]], Reply]


def vector(text: str, width: int = WIDTH) -> F32:
    return np.random.default_rng(u64(text)).standard_normal(width).astype(np.float32)


def items(payload: dict[str, Any], width: int | None = None) -> list[dict[str, Any]]:
    width = width or payload.get("dimensions", WIDTH)
    rows = enumerate(payload["input"])
    return [{"index": i, "embedding": vector(t, width).tolist()} for i, t in rows]


def ok(data: Any) -> Reply:
    return 200, {}, json.dumps({"object": "list", "model": "m", "data": data}).encode()


def good(payload: dict[str, Any]) -> Reply:
    """Right vectors under right indices, but in another order."""
    data = items(payload)
    np.random.default_rng(len(data)).shuffle(data)
    return ok(data)


def status(code: int, message: str = "", **headers: str) -> Behaviour:
    body = json.dumps({"error": {"message": message}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: (code, named, body)


def slow(payload: dict[str, Any]) -> Reply:
    time.sleep(1.0)
    return good(payload)


def narrow(payload: dict[str, Any]) -> Reply:
    return ok(items(payload, WIDTH - 1))


def missing(payload: dict[str, Any]) -> Reply:
    return ok(items(payload)[:-1])


def duplicate(payload: dict[str, Any]) -> Reply:
    return ok([dict(item, index=0) for item in items(payload)])


def poisoned(payload: dict[str, Any]) -> Reply:
    data = items(payload)
    data[-1]["embedding"][2] = float("nan")
    return ok(data)


def ragged(payload: dict[str, Any]) -> Reply:
    data = items(payload)
    data[-1]["embedding"].pop()
    return ok(data)


def garbage(_: dict[str, Any]) -> Reply:
    return 200, {"Content-Type": "text/html"}, b"<html>sign in</html>"


def hang_up(_: dict[str, Any]) -> Reply:
    raise ConnectionAbortedError


class Server(ThreadingHTTPServer):
    """Answers with the next of `script`, then with `default`; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Behaviour] = []
        self.default: Behaviour = good
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def texts(self) -> list[str]:
        return [text for payload in self.asked for text in payload["input"]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(payload)
            self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.server.times.append(time.monotonic())
            self.server.paths.append(self.path)
            self.server.active += 1
            self.server.most_active = max(self.server.most_active, self.server.active)
            behaviour = self.server.script.pop(0) if self.server.script else self.server.default
        try:
            code, headers, body = behaviour(payload)
        except ConnectionAbortedError:
            return
        finally:
            with self.server.lock:
                self.server.active -= 1
        try:
            self.send_response(code)
            headers = {"Content-Type": "application/json", **headers}
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up on a slow reply
            pass

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server, a key in the environment, and retries without long waits."""
    monkeypatch.setattr(connection, "BACKOFF_S", 0.02)
    monkeypatch.setenv("PYRITE_TEST_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def settings(url: str, **fields: Any) -> OpenAIConfig:
    return OpenAIConfig(
        **{
            "base_url": url,
            "model": "m",
            "api_key_env": "PYRITE_TEST_KEY",
            "max_retries": 2,
            "timeout_s": 5,
            **fields,
        }
    )


def made(server: Server, outer: dict[str, Any] | None = None, **fields: Any) -> OpenAIEncoder:
    section = settings(server.url, **fields)
    return OpenAIEncoder(EncoderConfig(kind="openai", openai=section, **(outer or {})))


def expected(texts: Sequence[str], normalize: bool = True) -> F32:
    rows = np.stack([vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows

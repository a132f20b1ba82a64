"""Serves a sitting to this machine alone, over the standard library's HTTP server.

A page of any web site may send requests to a loopback port: a request is answered only with the
token in its address, our own name in `Host` (against DNS rebinding) and no foreign `Origin`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socketserver
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ....core.errors import PyriteError
from .page import page, policy
from .pair import ANSWERS
from .session import Session

_HOST = "127.0.0.1"
_MOST_BYTES, _MOST_DIGITS = 4096, 9
_SILENT_S = 60
_TOKEN_BYTES = 32
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"{policy()}; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class ReviewServer(ThreadingHTTPServer):
    """Listens at once; `url` is what a browser is to open."""

    request_queue_size = 64

    def __init__(self, session: Session, port: int = 0) -> None:
        """Take `port` of the loopback interface, 0: any free one; PyriteError if it is taken."""
        self.session = session
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        try:
            super().__init__((_HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise PyriteError(
                f"--port={port}: cannot listen there ({error}); 0 takes any free port"
            ) from error

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for a name
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, int(self.server_address[1])

    @property
    def hosts(self) -> tuple[str, ...]:
        """What `Host` may be."""
        names = (_HOST, "localhost")
        port = () if self.server_port != 80 else names
        return (*(f"{name}:{self.server_port}" for name in names), *port)

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # a closed tab is nobody's error
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = _SILENT_S
    server_version, sys_version = "pyrite", ""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: each line would hold the token."""

    def do_GET(self) -> None:
        self._reply(self._get)

    def do_POST(self) -> None:
        self._reply(self._post)

    def _reply(self, answered: Callable[[list[str]], tuple[str, str]]) -> None:
        status, kind = HTTPStatus.OK, "application/json"
        try:
            kind, body = answered(self._path())
        except _RefusedError as refused:
            status, body = refused.status, json.dumps({"error": str(refused)})
        except PyriteError as error:
            status, body = HTTPStatus.INTERNAL_SERVER_ERROR, json.dumps({"error": str(error)})
        raw = body.encode()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(raw)))
        if status != HTTPStatus.OK:
            # what is left of the body must not be read as the next request
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)

    def _path(self) -> list[str]:
        """What follows the token; refuses whoever is not our own page."""
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "this server answers to its own name alone")
        origins = self.headers.get_all("Origin", [])
        own = [[f"http://{host}"] for host in self.server.hosts]
        if origins not in ([] if self.command == "POST" else [[]]) + own:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "another site's page may not ask")
        token, *rest = self.path.removeprefix("/").split("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "no such page")
        return rest

    def _get(self, path: list[str]) -> tuple[str, str]:
        session = self.server.session
        if path == [""]:
            shown = {
                "mode": "server",
                "reviewer": session.reviewer,
                "answers": session.answers(),
            }
            return "text/html", page(shown)
        with contextlib.suppress(ValueError):
            name, number = path
            if name == "pair" and 0 <= int(number) < len(session.pairs):
                return "application/json", json.dumps(session.pair(int(number)))
        raise _RefusedError(HTTPStatus.NOT_FOUND, "no such page")

    def _post(self, path: list[str]) -> tuple[str, str]:
        if path != ["answer"]:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "no such page")
        sent = self._body()
        session = self.server.session
        index, answer = sent.get("index"), sent.get("answer")
        # JSON's true is no index
        if type(index) is not int or not 0 <= index < len(session.pairs):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "no such pair")
        if answer is not None and answer not in ANSWERS:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "no such answer")
        session.answer(index, answer)
        return "application/json", json.dumps({"saved": True})

    def _body(self) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an answer is JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "an answer has a length")
        if len(length) > _MOST_DIGITS or int(length) > _MOST_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "an answer is short")
        try:
            sent = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "an answer is JSON") from error
        if not isinstance(sent, dict):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "an answer is an object")
        return sent


def serve(session: Session, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; `say` hears the address first."""
    with ReviewServer(session, port) as server:
        say(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)

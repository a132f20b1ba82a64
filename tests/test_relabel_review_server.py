from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from review_setup import HOSTILE, finished_run, people, serving, session_of, started

from pyrite import RelabelConfig
from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.review.server import ReviewServer

ROWS = ["unsure-5/a unsure-5/b unsure-5/c unsure-5/d"] * 4


@pytest.fixture
def config(tmp_path: Path) -> RelabelConfig:
    return finished_run(tmp_path)


@pytest.fixture
def server(config: RelabelConfig) -> Iterator[ReviewServer]:
    with session_of(config) as session, serving(session) as running:
        yield running


def ask(
    server: ReviewServer,
    path: str,
    body: bytes | None = None,
    method: str | None = None,
    **headers: str | None,
) -> tuple[int, dict[str, str], str]:
    """Send a request as our page would, but for `headers`: None leaves one out."""
    sent: dict[str, str | None] = {"Host": server.hosts[0]}
    if body is not None:
        sent |= {
            "Origin": f"http://{server.hosts[0]}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    method = method or ("GET" if body is None else "POST")
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    reply = connection.getresponse()
    found = reply.status, dict(reply.getheaders()), reply.read().decode()
    connection.close()
    return found


def answer(server: ReviewServer, index: Any, given: Any, **headers: str | None) -> int:
    body = json.dumps({"index": index, "answer": given}).encode()
    return ask(server, f"/{server.token}/answer", body, **headers)[0]


def test_the_page_and_its_pairs(server: ReviewServer) -> None:
    status, headers, text = ask(server, f"/{server.token}/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert server.token not in text
    (shown,) = re.findall(r'id="data">(.*?)</script>', text)
    assert json.loads(shown) == {"mode": "server", "reviewer": "ann", "answers": [None] * 3}
    status, headers, text = ask(server, f"/{server.token}/pair/0")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(text)["candidate"]["text"].endswith(HOSTILE)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "path", ["", "/", "//", "/x/", "/TOKEN", "/TOKENx/", "/x/TOKEN/", "/TOKEN/x", "/TOKEN/pair"]
)
@pytest.mark.parametrize("body", [None, b'{"index": 0, "answer": "relevant"}'])
def test_without_the_token_there_is_nothing(
    path: str, body: bytes | None, server: ReviewServer, config: RelabelConfig
) -> None:
    status, _, text = ask(server, path.replace("TOKEN", server.token) or "*", body)
    assert status == 404
    assert server.token not in text
    assert people(config) == {}


@pytest.mark.parametrize("index", ["3", "-1", "x", "0/0", "0/", "", "1e9", "9" * 5000])
def test_there_are_as_many_pairs_as_there_are(index: str, server: ReviewServer) -> None:
    assert ask(server, f"/{server.token}/pair/{index}")[0] == 404


def test_a_token_is_long_and_each_server_has_its_own(config: RelabelConfig) -> None:
    with session_of(config) as session, ReviewServer(session) as one, ReviewServer(session) as two:
        assert one.token != two.token
        assert len(one.token) >= 43


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "[::1]:PORT", None]
)
def test_a_rebound_name_gets_nothing(
    host: str | None, server: ReviewServer, config: RelabelConfig
) -> None:
    named = None if host is None else host.replace("PORT", str(server.server_port))
    assert ask(server, f"/{server.token}/", Host=named)[0] == 403
    assert answer(server, 0, "relevant", Host=named) == 403
    assert people(config) == {}


def test_localhost_is_this_machine_too(server: ReviewServer, config: RelabelConfig) -> None:
    host = server.hosts[1]
    assert ask(server, f"/{server.token}/", Host=host)[0] == 200
    assert answer(server, 0, "relevant", Host=host, Origin=f"http://{host}") == 200
    assert people(config) == {"ann": [True]}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:PORT", "http://127.0.0.1:1", None]
)
def test_another_site_cannot_answer(
    origin: str | None, server: ReviewServer, config: RelabelConfig
) -> None:
    named = None if origin is None else origin.replace("PORT", str(server.server_port))
    assert answer(server, 0, "relevant", Origin=named) == 403
    if named is not None:
        assert ask(server, f"/{server.token}/pair/0", Origin=named)[0] == 403
    assert people(config) == {}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[]", {}, 400),
        (b"not JSON", {}, 400),
        (b"[" * 4096, {}, 400),
        (b"\xff", {}, 400),
        (b"{}", {}, 400),
        (b'{"index": true, "answer": "relevant"}', {}, 400),
        (b'{"index": 3, "answer": "relevant"}', {}, 400),
        (b'{"index": -1, "answer": "relevant"}', {}, 400),
        (b'{"index": 0.0, "answer": "relevant"}', {}, 400),
        (b'{"index": 0, "answer": "maybe"}', {}, 400),
        (b'{"index": 0, "answer": ["relevant"]}', {}, 400),
        (b'{"index": 0}' + b" " * 4096, {}, 413),
        (b'{"index": 0, "answer": "relevant"}', {"Content_Type": "text/plain"}, 415),
        (b'{"index": 0, "answer": "relevant"}', {"Content_Type": None}, 415),
        (b"", {"Content_Length": None}, 411),
        (b"", {"Content_Length": "-1"}, 411),
        (b"", {"Content_Length": "9" * 5000}, 413),
        (b"", {"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_what_is_no_answer_is_refused(
    body: bytes,
    headers: dict[str, str | None],
    status: int,
    server: ReviewServer,
    config: RelabelConfig,
) -> None:
    assert ask(server, f"/{server.token}/answer", body, **headers)[0] == status
    assert people(config) == {}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_refused(method: str, server: ReviewServer) -> None:
    status, headers, _ = ask(server, f"/{server.token}/", method=method)
    assert status == 501
    assert "Access-Control-Allow-Origin" not in headers


def test_answers_and_undo_are_in_the_store_before_the_reply(
    server: ReviewServer, config: RelabelConfig
) -> None:
    assert answer(server, 0, "relevant") == 200
    assert people(config) == {"ann": [True]}
    assert answer(server, 0, "not_relevant") == 200
    assert people(config) == {"ann": [False]}
    _, _, text = ask(server, f"/{server.token}/")
    assert '"answers": ["not_relevant", null, null]' in text
    assert answer(server, 0, None) == 200
    assert people(config) == {}


def test_a_store_that_fails_is_no_answer(
    server: ReviewServer, config: RelabelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PyriteError("the disk is full")

    monkeypatch.setattr(server.session._store, "put", fail)
    body = b'{"index": 0, "answer": "relevant"}'
    status, _, text = ask(server, f"/{server.token}/answer", body)
    assert (status, json.loads(text)) == (500, {"error": "the disk is full"})
    assert server.session.given() == {}


def test_two_reviewers_answer_at_once(tmp_path: Path) -> None:
    config = finished_run(tmp_path, ROWS)
    with (
        session_of(config, "ann", every=True) as ann,
        session_of(config, "bob", every=True) as bob,
        serving(ann) as one,
        serving(bob) as two,
    ):
        calls = [(s, at, g) for at in range(16) for s, g in ((one, "relevant"), (two, "unsure"))]
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda call: answer(*call), calls)) == {200}
    assert people(config) == {"ann": [True] * 16, "bob": [None] * 16}


def test_only_this_machine_is_served(server: ReviewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with socket.socket() as other:
        other.settimeout(5)
        # another loopback address is a stranger's as well
        with pytest.raises(OSError, match=r"refused|timed out"):
            other.connect(("127.0.0.2", server.server_port))


def test_a_taken_port_is_one_sentence(server: ReviewServer) -> None:
    with pytest.raises(PyriteError, match=r"--port=\d+: cannot listen there .*0 takes any free"):
        ReviewServer(server.session, server.server_port)


def send(url: str, index: int, given: str) -> int:
    _, _, host, token, _ = url.split("/")
    connection = HTTPConnection(host, timeout=20)
    body = json.dumps({"index": index, "answer": given})
    headers = {"Origin": f"http://{host}", "Content-Type": "application/json"}
    connection.request("POST", f"/{token}/answer", body, headers)
    return connection.getresponse().status


def test_ctrl_c_ends_with_a_count_and_a_kill_loses_nothing(
    tmp_path: Path, config: RelabelConfig
) -> None:
    process, url = started(tmp_path)
    assert send(url, 0, "relevant") == 200
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert people(config) == {"ann": [True]}
    # what is answered does not come again
    process, url = started(tmp_path)
    assert [send(url, at, "unsure") for at in range(3)] == [200, 200, 400]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "pyrite: stopping; Ctrl-C again stops at once\n")
    assert "2 answered: 0 relevant, 0 not relevant, 2 unsure" in out

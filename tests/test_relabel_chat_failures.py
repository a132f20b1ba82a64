from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import (
    beyond,
    cases,
    cut_short,
    cut_unsaid,
    documents,
    expected,
    filtered,
    filtered_prompt,
    good,
    incomplete,
    items,
    judged,
    made,
    ok,
    prose,
    refusal,
    serving,
    settings,
    silent,
    slow,
    twice,
)
from embedding_server import KEY, Behaviour, Reply, Server, garbage, hang_up, status

from pyrite.core.config import dump_config, parse_config
from pyrite.core.errors import PyriteError
from pyrite.miner.relabel.budget import Budget
from pyrite.miner.relabel.case import UNKNOWN, State
from pyrite.miner.relabel.judges.build import build_judge
from pyrite.miner.relabel.judges.config import ChatConfig
from pyrite.miner.relabel.verdict_store import VerdictStore

pytest.importorskip("openai", reason="the extra `openai` is not installed")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VerdictStore]:
    with VerdictStore(tmp_path / "verdicts.sqlite", "run") as opened:
        yield opened


def states_in(store: VerdictStore) -> list[tuple[str, int]]:
    return store._db.execute("SELECT state, attempts FROM calls ORDER BY id").fetchall()


@pytest.mark.parametrize(
    ("behaviour", "state"),
    [
        (cut_short, "truncated"),
        (cut_unsaid, "parse_error"),
        (prose, "parse_error"),
        (silent, "parse_error"),
        (beyond, "index_error"),
        (twice, "index_error"),
        (incomplete, "index_error"),
        (refusal, "refused"),
        (filtered, "refused"),
        (filtered_prompt, "refused"),
        (status(500), "failed"),
        (status(400, "too long"), "failed"),
        (garbage, "failed"),
        (hang_up, "failed"),
    ],
)
def test_what_cannot_be_used_is_unknown_and_counted_never_clean(
    server: Server, store: VerdictStore, behaviour: Behaviour, state: State
) -> None:
    server.default = behaviour
    asked = cases(2)
    found = judged(made(server, store, structured="none", max_retries=1), asked)
    assert {j.state for j in found.values()} == {state}
    assert {j.verdicts for j in found.values()} == {(UNKNOWN,) * 3}
    assert states_in(store) == ([(state, 0)] * 2 if state == "failed" else [(state, 1)] * 6)
    assert {j.attempts for j in found.values()} == {0 if state == "failed" else 3}
    assert store.get(made(server, store).key, asked[0]) == (None, None, None)


@pytest.mark.parametrize(
    "behaviour", [cut_short, cut_unsaid, beyond, refusal, status(500), garbage, hang_up]
)
def test_passing_trouble_is_overcome(
    server: Server, store: VerdictStore, behaviour: Behaviour
) -> None:
    server.script = [good, behaviour, behaviour]
    asked = cases(2)
    found = judged(made(server, store, concurrency=1), asked)
    assert [found[one.row].verdicts for one in asked] == [expected(one) for one in asked]


def test_a_reply_is_asked_for_again_with_more_room_and_another_order(
    server: Server, store: VerdictStore
) -> None:
    server.script = [cut_short, cut_short]
    (one,) = cases(1, 9)
    found = judged(made(server, store, reply_tokens=100), [one])[one.row]
    assert found.verdicts == expected(one)
    assert (found.attempts, found.prompt_tokens, found.completion_tokens) == (3, 300, 30)
    assert states_in(store) == [("truncated", 1), ("truncated", 1), ("ok", 1)]
    assert [payload["max_tokens"] for payload in server.asked] == [100, 200, 400]
    assert len({tuple(documents(payload)) for payload in server.asked}) == 3


def test_retry_after_holds_back_every_request(server: Server, store: VerdictStore) -> None:
    server.script = [status(429, Retry_After="0.6")]
    asked = cases(4, 1)
    found = judged(made(server, store, concurrency=2), asked)
    assert {j.state for j in found.values()} == {"ok"}
    waited = np.array(server.times[1:]) - server.times[0]
    assert (waited >= 0.6).sum() >= len(waited) - 2
    assert len(server.asked) == 5


def test_a_slow_reply_is_asked_for_again(server: Server, store: VerdictStore) -> None:
    server.script = [slow]
    (one,) = cases(1)
    assert judged(made(server, store, timeout_s=0.3), [one])[one.row].verdicts == expected(one)
    assert len(server.asked) >= 2


def test_a_bad_request_that_is_not_about_the_schema_keeps_it(
    server: Server, store: VerdictStore, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [status(400, "too long"), status(400, "too long")]
    found = judged(made(server, store, concurrency=1), cases(2, 1))
    assert [j.state for j in found.values()] == ["failed", "ok"]
    formats = [payload.get("response_format", {}).get("type") for payload in server.asked]
    assert formats == ["json_schema", None, "json_schema"]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"r0: {server.url} answered 400 (too long); check")


def sentence(server: Server, store: VerdictStore, **fields: Any) -> str:
    with pytest.raises(PyriteError) as caught:
        judged(made(server, store, **fields), cases(30, 1))
    text = str(caught.value)
    assert "\n" not in text
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return text


@pytest.mark.parametrize(
    ("code", "knob"), [(401, "api_key_env"), (403, "api_key_env"), (404, "/v1")]
)
def test_what_no_case_can_pass_ends_the_run(
    server: Server, store: VerdictStore, code: int, knob: str
) -> None:
    server.default = status(code, f"no: {KEY} is bad")
    text = sentence(server, store, concurrency=2)
    assert f"answered {code} (no: [key] is bad)" in text
    assert f"stages.1.{knob}" in text or knob in text
    assert len(server.asked) <= 4


def test_failures_in_a_row_end_the_run(server: Server, store: VerdictStore) -> None:
    server.default = status(500)
    text = sentence(server, store, concurrency=1, max_retries=0, most_failures=5)
    assert "answered 500; raise stages.1.max_retries" in text
    assert len(server.asked) == 5
    assert states_in(store) == [("failed", 0)] * 4


def test_failures_between_successes_do_not(server: Server, store: VerdictStore) -> None:
    server.script = [status(500), good] * 6
    fields: dict[str, Any] = {"concurrency": 1, "max_retries": 0, "most_failures": 2}
    found = judged(made(server, store, **fields), cases(12, 1))
    assert [j.state for j in found.values()] == ["failed", "ok"] * 6


def test_replies_under_way_when_a_run_ends_are_kept(server: Server, store: VerdictStore) -> None:
    asked = threading.Event()

    def late(payload: dict[str, Any]) -> Reply:
        asked.set()
        time.sleep(0.3)
        return good(payload)

    def denied(_: dict[str, Any]) -> Reply:
        asked.wait(20)
        return status(401)({})

    server.script = [late, denied]
    first, second = cases(2, 1)
    judge = made(server, store, concurrency=2)
    with pytest.raises(PyriteError, match="answered 401"):
        judged(judge, [first, second])
    known = [store.get(judge.key, one)[0] for one in (first, second)]
    assert sum(verdict is not None for verdict in known) == 1


def test_an_unreachable_server_is_one_sentence_in_seconds(
    store: VerdictStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_TEST_KEY", KEY)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        url = f"http://127.0.0.1:{gone.server_address[1]}/v1"
    judge = build_judge(settings(url), store, Budget(), 0, "stages.1")
    started = time.monotonic()
    with pytest.raises(PyriteError, match="cannot be reached") as caught:
        list(judge.judge(cases(3)))
    assert time.monotonic() - started < 8
    assert str(caught.value).startswith(url)
    assert "stages.1.base_url" in str(caught.value)


def test_the_key_is_nowhere_but_in_the_header(
    server: Server, store: VerdictStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def leaky(payload: dict[str, Any]) -> Reply:
        found = items(payload)
        found[0]["why"] = f"the key is {KEY}"
        return ok(json.dumps({"verdicts": found}))

    server.script = [status(500, KEY), leaky]
    judge = made(server, store, concurrency=1)
    with caplog.at_level(logging.DEBUG):
        found = judged(judge, cases(1, 1))["r0"]
    assert found.verdicts[0].why == "the key is [key]"
    assert KEY not in caplog.text
    assert "answered 500 ([key])" in caplog.text
    assert KEY not in repr(vars(judge)) + judge.key + judge.label
    store.close()
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())
    assert KEY not in dump_config(settings(server.url))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"api_key_env": "sk-0123-secret"}, "never put the key here"),
        ({"base_url": "http://me:secret@host/v1"}, "use api_key_env"),
        ({"price": {"input": -1}}, "price.input=-1"),
        ({"structured": "yaml"}, "structured='yaml'"),
    ],
)
def test_wrong_settings_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PyriteError) as caught:
        parse_config(ChatConfig, fields)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_key_that_is_not_set_is_named(store: VerdictStore) -> None:
    section = settings("http://127.0.0.1:9/v1", api_key_env="PYRITE_NO_SUCH_KEY")
    with pytest.raises(PyriteError, match=r"api_key_env=PYRITE_NO_SUCH_KEY.*not set"):
        build_judge(section, store, Budget(), 0, "stages.1")
    with pytest.raises(PyriteError, match=r"needs stages.1.base_url .* and stages.1.model"):
        build_judge(ChatConfig(), store, Budget(), 0, "stages.1")

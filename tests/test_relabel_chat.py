from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import (
    beyond,
    case,
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
    only_plain,
    prose,
    refusal,
    right,
    sections,
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
from pyrite.miner.training_row import Doc

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


def test_verdicts_come_back_in_the_order_of_the_documents(
    server: Server, store: VerdictStore
) -> None:
    asked = cases(12, 7)
    found = judged(made(server, store, concurrency=3), asked)
    assert {one.row: expected(one) for one in asked} == {r: j.verdicts for r, j in found.items()}
    assert {(j.state, j.attempts, j.prompt_tokens) for j in found.values()} == {("ok", 1, 100)}
    assert set(server.paths) == {"/v1/chat/completions"}
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    # the server saw another order than the file's, not the same one in every row
    shown = [[int(text.split()[3]) for text in documents(payload)] for payload in server.asked]
    assert len({tuple(order) for order in shown}) > 6
    assert all(sorted(order) == list(range(7)) for order in shown)


def test_a_second_run_asks_nothing(server: Server, store: VerdictStore) -> None:
    asked = cases(5)
    first = judged(made(server, store), asked)
    calls = len(server.asked)
    again = judged(made(server, store), asked)
    assert len(server.asked) == calls == 5
    assert {r: j.verdicts for r, j in again.items()} == {r: j.verdicts for r, j in first.items()}
    assert {(j.attempts, j.prompt_tokens, j.completion_tokens) for j in again.values()} == {
        (0, 0, 0)
    }
    assert made(server, store).estimate(asked[0]).calls == 0


def test_only_new_documents_are_asked_about(server: Server, store: VerdictStore) -> None:
    (one,) = cases(1, 4)
    judged(made(server, store), [one])
    longer = replace(one, documents=(Doc("n", "", "new equal"), *one.documents))
    found = judged(made(server, store), [longer])[one.row]
    assert found.verdicts == (right("new equal"), *expected(one))
    assert documents(server.asked[-1]) == ["new equal"]


@pytest.mark.parametrize(
    "fields", [{"model": "n"}, {"revision": "2"}, {"temperature": 1.0}, {"max_chars": 7}]
)
def test_other_settings_are_another_judge(
    server: Server, store: VerdictStore, fields: dict[str, Any]
) -> None:
    assert made(server, store, **fields).key != made(server, store).key
    assert made(server, store, seed=1).key != made(server, store).key


@pytest.mark.parametrize(
    "fields", [{"concurrency": 9}, {"price": {}}, {"timeout_s": 9}, {"reply_tokens": 99}]
)
def test_what_decides_nothing_is_no_other_judge(
    server: Server, store: VerdictStore, fields: dict[str, Any]
) -> None:
    assert made(server, store, **fields).key == made(server, store).key


def test_many_documents_are_split_with_the_same_truths_and_merged(
    server: Server, store: VerdictStore
) -> None:
    (one,) = cases(1, 26)
    found = judged(made(server, store, most_documents=10), [one])[one.row]
    assert found.verdicts == expected(one)
    assert found.attempts == 3
    assert sorted(len(documents(payload)) for payload in server.asked) == [6, 10, 10]
    assert {sections(payload)["TRUTH 1"] for payload in server.asked} == {"Title: Truth\nof r0"}


def test_a_part_that_fails_leaves_the_others_their_verdicts(
    server: Server, store: VerdictStore
) -> None:
    (one,) = cases(1, 5)

    def picky(payload: dict[str, Any]) -> Reply:
        return prose(payload) if any("doc 4" in t for t in documents(payload)) else good(payload)

    server.default = picky
    found = judged(made(server, store, most_documents=3), [one])[one.row]
    assert found.state == "parse_error"
    assert found.verdicts == (*expected(one)[:3], UNKNOWN, UNKNOWN)
    assert found.attempts == 1 + 3


def test_equal_texts_are_asked_about_once(server: Server, store: VerdictStore) -> None:
    one = case("a", "x equal", "y", "x equal", query="q")
    other = replace(case("b", "y", "z", query="q"), truths=one.truths)
    found = judged(made(server, store, concurrency=4), [one, other])
    assert found["a"].verdicts == tuple(map(right, ["x equal", "y", "x equal"]))
    assert found["b"].verdicts == tuple(map(right, ["y", "z"]))
    sent = sorted(text for payload in server.asked for text in documents(payload))
    assert sent == ["x equal", "y", "z"]


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
    attempts = 0 if state == "failed" else 3
    assert states_in(store) == [(state, attempts)] * 2
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


def test_no_more_than_concurrency_are_under_way(server: Server, store: VerdictStore) -> None:
    def brief(payload: dict[str, Any]) -> Reply:
        time.sleep(0.03)
        return good(payload)

    server.default = brief
    judged(made(server, store, concurrency=5), cases(20, 1))
    assert server.most_active == 5


def test_cases_are_drawn_as_they_are_needed(server: Server, store: VerdictStore) -> None:
    drawn = []

    def source() -> Iterator[Any]:
        for one in cases(50, 1):
            drawn.append(one)
            yield one

    running = made(server, store, concurrency=2).judge(source())
    next(running)
    assert len(drawn) <= 4
    running.close()
    assert len(server.asked) <= 4


def test_a_json_schema_is_asked_for_and_given_up_once(
    server: Server, store: VerdictStore, caplog: pytest.LogCaptureFixture
) -> None:
    server.default = only_plain
    with caplog.at_level(logging.WARNING):
        found = judged(made(server, store, concurrency=1), cases(3, 1))
    assert {j.state for j in found.values()} == {"ok"}
    assert ["response_format" in payload for payload in server.asked] == [True, *[False] * 3]
    (record,) = caplog.records
    assert "set stages.1.structured=none" in record.getMessage()


def test_a_bad_request_that_is_not_about_the_schema_keeps_it(
    server: Server, store: VerdictStore
) -> None:
    server.script = [status(400, "too long"), status(400, "too long")]
    found = judged(made(server, store, concurrency=1), cases(2, 1))
    assert [j.state for j in found.values()] == ["failed", "ok"]
    formats = [payload.get("response_format", {}).get("type") for payload in server.asked]
    assert formats == ["json_schema", None, "json_schema"]


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "none"])
def test_a_given_format_is_kept(server: Server, store: VerdictStore, structured: str) -> None:
    judged(made(server, store, structured=structured, temperature=None), cases(1, 1))
    (payload,) = server.asked
    assert payload.get("response_format", {}).get("type", "none") == structured
    assert "temperature" not in payload


def test_a_server_that_does_not_count_is_taken_at_its_most(
    server: Server, store: VerdictStore
) -> None:
    server.default = lambda _: ok('{"verdicts": []}', usage=False)
    budget = Budget()
    found = judged(made(server, store, budget, reply_tokens=1000, reply_retries=0), cases(1, 1))[
        "r0"
    ]
    assert found.completion_tokens == 1000
    assert 200 < found.prompt_tokens < 1000
    assert budget.spent.cost == pytest.approx((found.prompt_tokens + 10_000) / 1e6)
    assert store.spent() == budget.spent


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

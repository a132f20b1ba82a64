from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import (
    case,
    cases,
    documents,
    expected,
    good,
    judged,
    made,
    ok,
    only_plain,
    prose,
    right,
    sections,
    serving,
)
from embedding_server import KEY, Reply, Server

from pyrite.miner.relabel.budget import Budget
from pyrite.miner.relabel.case import UNKNOWN
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
    assert isinstance(running, Generator)
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


def test_texts_that_are_cut_are_counted_each_time(server: Server, store: VerdictStore) -> None:
    one = case("r", "x" * 50, "y")
    for _ in range(2):
        assert judged(made(server, store, max_chars=20), [one])["r"].cut_texts == 1
    assert [text[-6:] for text in documents(server.asked[0]) if "x" in text] == [" [...]"]


def test_requests_are_paced_by_the_tokens_of_prompt_and_reply(
    server: Server, store: VerdictStore
) -> None:
    asked = cases(4, 1)
    section = made(server, store)
    one = section.estimate(asked[0])
    tokens = one.prompt_tokens + one.completion_tokens
    # a tenth of a second each
    judged(made(server, store, tokens_per_minute=tokens * 600, concurrency=4), asked)
    assert server.times[-1] - server.times[0] > 0.25

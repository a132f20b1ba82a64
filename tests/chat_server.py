"""An OpenAI-compatible chat server on 127.0.0.1 that judges documents, or misbehaves on demand.

It judges by the words of a document: `better`, `equal` and `worse` say so, all others are clean.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from embedding_server import KEY, Behaviour, Reply, Server

from pyrite.core.server import connection
from pyrite.miner.relabel.budget import Budget
from pyrite.miner.relabel.case import Case, Judgement, Verdict, VsTruth
from pyrite.miner.relabel.judges.build import build_judge
from pyrite.miner.relabel.judges.config import ChatConfig
from pyrite.miner.relabel.judges.stored import StoredJudge
from pyrite.miner.relabel.verdict_store import VerdictStore
from pyrite.miner.training_row import Doc

_CODE = re.compile(r"The code is (\w+)\.\n")
CHILD_CASES = 300
WORDS: tuple[VsTruth, ...] = ("better", "equal", "worse")


def sections(payload: dict[str, Any]) -> dict[str, str]:
    """The fenced parts of the user's message by name, as a careful reader finds them."""
    text = payload["messages"][-1]["content"]
    found = _CODE.match(text)
    assert found is not None
    parts = text[found.end() :].split(f"[{found.group(1)}] ")
    assert parts[0] == ""
    return dict(part.rstrip("\n").split("\n", 1) for part in parts[1:])


def documents(payload: dict[str, Any]) -> list[str]:
    named = sections(payload)
    return [named[key] for key in named if key.startswith("DOCUMENT")]


def versus(text: str) -> VsTruth:
    return next((word for word in WORDS if word in text.split()), "na")


def right(text: str) -> Verdict:
    """What the server says about a document."""
    found = versus(text)
    return Verdict(found != "na", found, None, f"because of {text[:20]}")


def items(payload: dict[str, Any]) -> list[dict[str, Any]]:
    verdicts = enumerate(map(right, documents(payload)), 1)
    return [
        {"doc": i, "why": v.why, "relevant": v.relevant, "vs_truth": v.vs_truth}
        for i, v in verdicts
    ]


def ok(content: str | None, finish: str | None = "stop", usage: bool = True, **more: Any) -> Reply:
    message = {"role": "assistant", "content": content, **more}
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return 200, {}, json.dumps(body).encode()


def good(payload: dict[str, Any]) -> Reply:
    return ok(json.dumps({"verdicts": items(payload)}))


def slow(payload: dict[str, Any]) -> Reply:
    time.sleep(0.6)
    return good(payload)


def cut_short(payload: dict[str, Any]) -> Reply:
    """What a token limit leaves of the reply."""
    whole = json.dumps({"verdicts": items(payload)})
    return ok(whole[: len(whole) // 2], "length")


def cut_unsaid(payload: dict[str, Any]) -> Reply:
    return ok(json.dumps({"verdicts": items(payload)})[:-3])


def prose(_: dict[str, Any]) -> Reply:
    return ok("None of the documents is relevant.")


def silent(_: dict[str, Any]) -> Reply:
    return ok(None)


def beyond(payload: dict[str, Any]) -> Reply:
    found = items(payload)
    found[-1]["doc"] = len(found) + 1
    return ok(json.dumps({"verdicts": found}))


def twice(payload: dict[str, Any]) -> Reply:
    found = items(payload)
    return ok(json.dumps({"verdicts": [*found, found[0]]}))


def incomplete(payload: dict[str, Any]) -> Reply:
    return ok(json.dumps({"verdicts": items(payload)[1:]}))


def refusal(_: dict[str, Any]) -> Reply:
    return ok(None, "stop", refusal="I cannot help with that.")


def filtered(_: dict[str, Any]) -> Reply:
    return ok("", "content_filter")


def filtered_prompt(_: dict[str, Any]) -> Reply:
    error = {"error": {"message": "filtered", "code": "content_filter"}}
    return 400, {}, json.dumps(error).encode()


def only_plain(payload: dict[str, Any]) -> Reply:
    """A server that knows no response_format."""
    if "response_format" in payload:
        return 400, {}, json.dumps({"error": {"message": "unknown response_format"}}).encode()
    return good(payload)


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, default: Behaviour = good) -> Iterator[Server]:
    """A running server, a key in the environment, and retries without long waits."""
    monkeypatch.setattr(connection, "BACKOFF_S", 0.02)
    monkeypatch.setenv("PYRITE_TEST_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        running.default = default
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def settings(url: str, **fields: Any) -> ChatConfig:
    return ChatConfig(
        **{
            "base_url": url,
            "model": "m",
            "api_key_env": "PYRITE_TEST_KEY",
            "max_retries": 2,
            "timeout_s": 5,
            "price": {"input": 1.0, "output": 10.0},
            **fields,
        }
    )


def made(
    server: Server, store: VerdictStore, budget: Budget | None = None, seed: int = 0, **fields: Any
) -> StoredJudge:
    section = settings(server.url, **fields)
    judge = build_judge(section, store, budget or Budget(), seed, "stages.1")
    assert isinstance(judge, StoredJudge)
    return judge


def case(row: str, *texts: str, query: str | None = None) -> Case:
    """A case with a truth and these documents."""
    docs = tuple(Doc(None, "", text) for text in texts)
    return Case(row, query or f"question {row}", (Doc("t", "Truth", f"of {row}"),), docs)


def cases(count: int, size: int = 3) -> list[Case]:
    """Cases whose documents differ; some of them are relevant."""
    words = ("clean", "better", "plain", "equal", "worse")
    return [
        case(f"r{i}", *(f"row {i} doc {j} {words[(i + j) % 5]}" for j in range(size)))
        for i in range(count)
    ]


def expected(one: Case) -> tuple[Verdict, ...]:
    return tuple(right(doc.text) for doc in one.documents)


def judged(judge: StoredJudge, asked: list[Case]) -> dict[str, Judgement]:
    found = list(judge.judge(asked))
    assert len({one.row for one, _ in found}) == len(found)
    return {one.row: judgement for one, judgement in found}

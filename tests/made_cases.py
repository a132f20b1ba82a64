"""Writers and judges whose texts say what they are, and the toy dataset that they write for."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chat_server
from chat_server import ok, sections
from embedding_server import Reply
from fakes import toy_dataset

from pyrite.core.config import parse_config
from pyrite.miner.made.asked import Asked
from pyrite.miner.made.config import MakeConfig
from pyrite.miner.relabel.case import Case, Verdict

_WANTED = re.compile(r"Write (\d+) (passages|queries) of about (\d+) words each\.")
# the second is a false negative to every judge of these tests, see `versus`
MARKS = ("plain", "equal", "clean", "other", "third")


def texts_for(question: str, n: int, words: int = 8) -> list[str]:
    """`n` texts of `words` words that begin as the question and share no more with each other."""
    start = question.split()[:2]
    fill = [f"x{at}" for at in range(words)]
    return [
        " ".join([*start, MARKS[i % 5], f"n{i}", *(f"{word}i{i}" for word in fill)][:words])
        for i in range(n)
    ]


def write(asked: Asked) -> list[str]:
    """Five texts, the second of which the judges call relevant."""
    return texts_for(asked.text, 5)


def write_variants(asked: Asked) -> list[str]:
    """Queries that differ from the first known one in the last word, and one that does in two."""
    words = asked.known[0].split()
    one = [" ".join([*words[:-1], mark]) for mark in ("plain", "equal", "clean")]
    return [*one, " ".join(["first", *words[1:-1], "last"])]


def judge(case: Case) -> list[Verdict]:
    """Calls relevant what says so."""
    return [chat_server.right(doc.text) for doc in case.documents]


def second_judge(case: Case) -> list[Verdict]:
    """Agrees with `judge`, and finds `clean` relevant too."""
    found = [doc.text.split() for doc in case.documents]
    return [
        Verdict(True, "equal") if {"clean", "equal"} & set(words) else Verdict(False, "na")
        for words in found
    ]


def unsure(case: Case) -> list[Verdict]:
    """Never decides."""
    return [Verdict(None)] * len(case.documents)


def wants_texts(payload: dict[str, Any]) -> bool:
    return _WANTED.search(payload["messages"][-1]["content"].splitlines()[-1]) is not None


def reply(payload: dict[str, Any], texts: Sequence[Any]) -> Reply:
    return ok(json.dumps({"texts": texts}))


def good(payload: dict[str, Any]) -> Reply:
    """Writes for a writer, judges for a judge."""
    if not wants_texts(payload):
        return chat_server.good(payload)
    found = _WANTED.search(payload["messages"][-1]["content"].splitlines()[-1])
    assert found is not None
    named = sections(payload)
    return reply(payload, texts_for(named.get("QUESTION", named.get("TEXT", "")), int(found[1])))


def scripted(name: str) -> dict[str, Any]:
    return {"judge": "scripted", "scripted": {"function": f"made_cases:{name}"}}


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Scripted writer and judge for the toy dataset below `folder`."""
    return {
        "name": "toy",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "dataset": {"path": str(folder / "data")},
        "writer": {"writer": "scripted", "scripted": {"function": "made_cases:write"}},
        "checks": [scripted("judge")],
        **changes,
    }


def chat(url: str, **fields: Any) -> dict[str, Any]:
    return {
        "base_url": url,
        "model": "m",
        "api_key_env": "PYRITE_TEST_KEY",
        "max_retries": 1,
        "timeout_s": 5,
        "reply_retries": 1,
        "price": {"input": 1.0, "output": 10.0},
        **fields,
    }


def on_server(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    """The same with a chat server as writer and as judge."""
    writer = {"writer": "chat", "chat": chat(url)}
    checks = [{"judge": "chat", "chat": chat(url)}]
    return settings(folder, **{"writer": writer, "checks": checks, **changes})


def config(folder: Path, **changes: Any) -> MakeConfig:
    """A configuration, and the dataset if it is not there yet."""
    if not (folder / "data").exists():
        toy_dataset(folder / "data", 40, 20)
    return parse_config(MakeConfig, settings(folder, **changes))


def lines(folder: Path, name: str = "made.jsonl") -> list[dict[str, Any]]:
    path = folder / "runs" / "toy" / "made" / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_too_much(asked: Asked) -> list[str]:
    """A text that is longer than any of the dataset."""
    return [" ".join([asked.text, *(f"x{at}" for at in range(99))])]

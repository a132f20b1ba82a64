from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_server import (
    KEY,
    TEXTS,
    WIDTH,
    Reply,
    Server,
    expected,
    good,
    made,
    poisoned,
    serving,
    settings,
    status,
)

from pyrite.core.config import dump_config, load_config, parse_config
from pyrite.core.digest import digest_texts
from pyrite.core.embeddings import StoreLayout, embed
from pyrite.core.encoders.config import OpenAIConfig
from pyrite.core.encoders.openai import OpenAIEncoder
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig
from pyrite.core.server.limits import RateLimiter
from pyrite.core.tables import TextTable, write_texts

pytest.importorskip("openai", reason="the extra `openai` is not installed")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch) as running:
        yield running


def table_of(folder: Path, texts: Sequence[str] = TEXTS) -> TextTable:
    write_texts(folder / "texts.arrow", ((f"d{i}", text) for i, text in enumerate(texts)))
    return TextTable.open(folder / "texts.arrow", digest_texts(texts), "corpus.jsonl")


def test_the_vectors_are_the_servers_in_the_order_of_the_texts(server: Server) -> None:
    encoder = made(server, request_texts=5, concurrency=3)
    found = encoder.encode_documents(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(TEXTS), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS[::-1]), expected(TEXTS[::-1]), 1e-5)
    assert encoder.dimension == WIDTH
    assert set(server.paths) == {"/v1/embeddings"}
    raw = made(server, {"normalize": False}).encode_documents(TEXTS)
    np.testing.assert_allclose(raw, expected(TEXTS, normalize=False), atol=1e-6)
    assert made(server).encode_documents([]).shape == (0, WIDTH)


def test_a_request_holds_so_many_texts_and_tokens(server: Server) -> None:
    made(server, request_texts=5).encode_documents(TEXTS)
    assert sorted(len(p["input"]) for p in server.asked) == [3, 5, 5, 5, 5]
    server.asked.clear()
    texts = ["a" * 40, "b" * 40, "c" * 400, "d" * 4, "é" * 20]
    made(server, request_tokens=20, concurrency=1).encode_documents(texts)
    assert [p["input"] for p in server.asked] == [texts[:2], texts[2:3], texts[3:]]


def test_lengths_are_a_quarter_of_the_bytes(server: Server) -> None:
    encoder = made(server, {"query_prompt": "q: "}, max_chars=100)
    texts = ["", "abcd", "abcde", "é" * 4, "x" * 1000]
    assert encoder.lengths(texts, "document").tolist() == [1, 1, 2, 2, 25]
    assert encoder.lengths(texts[1:2], "query").tolist() == [2]


def test_prompts_dimensions_and_limits_reach_the_server(server: Server) -> None:
    outer = {"query_prompt": "query: ", "document_prompt": "passage: "}
    encoder = made(server, outer, dimensions=5, max_chars=14, concurrency=1)
    assert encoder.dimension == 5
    assert server.asked == []
    encoder.encode_queries(["short"])
    encoder.encode_documents(["longer than that"])
    assert made(server, dimensions=5).encode_documents(["", "x"]).shape == (2, 5)
    assert [p["input"] for p in server.asked] == [["query: short"], ["passage: longe"], [" ", "x"]]
    assert all(p["dimensions"] == 5 and p["model"] == "m" for p in server.asked)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_no_key_and_no_vendor_settings_go_to_another_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "for-the-vendor-only")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    made(server, api_key_env=None).encode_documents(["x"])
    assert server.headers[0]["authorization"] == "Bearer none"
    assert "for-the-vendor-only" not in str(server.headers)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_requests_are_under_way(server: Server, concurrency: int) -> None:
    def lingering(payload: dict[str, Any]) -> Reply:
        deadline = time.monotonic() + 2
        while server.most_active < concurrency and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.02)  # for one more, if it were let in
        return good(payload)

    server.default = lingering
    encoder = made(server, request_texts=2, concurrency=concurrency, dimensions=WIDTH)
    batches = [TEXTS[:7], TEXTS[7:8], [], TEXTS[8:]]
    found = list(encoder.encode_batches(batches, "document"))
    assert [len(part) for part in found] == [7, 1, 0, 15]
    np.testing.assert_allclose(np.concatenate(found), expected(TEXTS), atol=1e-6)
    assert server.most_active == concurrency


def test_requests_are_paced(server: Server) -> None:
    made(server, request_texts=1, requests_per_minute=600, dimensions=WIDTH).encode_documents(
        TEXTS[:5]
    )
    assert server.times[-1] - server.times[0] >= 0.25
    server.times.clear()
    # 100 bytes are 25 tokens: 0.1 s each
    fields: dict[str, Any] = {"request_texts": 1, "tokens_per_minute": 15000, "dimensions": WIDTH}
    made(server, **fields).encode_documents(["x" * 100] * 5)
    assert server.times[-1] - server.times[0] >= 0.25


def test_the_limiter_spaces_requests_by_the_tighter_limit() -> None:
    now = [100.0]
    limiter = RateLimiter(60, 600, clock=lambda: now[0])
    assert [limiter.reserve(tokens) for tokens in (5, 20, 1, 1)] == [0, 1, 3, 4]
    now[0] += 100
    assert limiter.reserve(1) == 0
    limiter.pause(30)
    limiter.pause(3)
    assert limiter.reserve(1) == 30
    assert RateLimiter(None, None).reserve(10**9) == 0


def test_a_broken_run_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    table = table_of(tmp_path)
    whole = embed(
        made(server), table, "document", tmp_path / "a", 64, layout=StoreLayout(part_rows=6)
    )
    server.asked.clear()
    server.script = [good] * 9 + [status(401)]
    fields: dict[str, Any] = {"request_texts": 2, "concurrency": 1}
    with pytest.raises(PyriteError, match="answered 401"):
        embed(
            made(server, **fields),
            table,
            "document",
            tmp_path / "b",
            64,
            layout=StoreLayout(part_rows=6),
        )
    done = {p.name for p in (tmp_path / "b").rglob("part-*.npy")}
    assert 0 < len(done) < 4
    server.asked.clear()
    resumed = embed(
        made(server, **fields),
        table,
        "document",
        tmp_path / "b",
        64,
        layout=StoreLayout(part_rows=6),
    )
    assert resumed.key == whole.key
    assert sorted(set(server.texts()) - {"dimension"}) == sorted(TEXTS[6 * len(done) :])
    for first, second in zip(whole.shards, resumed.shards, strict=True):
        assert first.tobytes() == second.tobytes()
    server.asked.clear()
    embed(made(server), table, "document", tmp_path / "b", 64, layout=StoreLayout(part_rows=6))
    assert server.asked == []


def test_the_key_is_nowhere_but_in_the_request(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    server.script = [status(429, f"{KEY} is busy"), status(500), poisoned]
    encoder = made(server, max_retries=3)
    embed(encoder, table_of(tmp_path), "document", tmp_path / "cache", 64)
    server.default = status(401, f"bad key {KEY}")
    with pytest.raises(PyriteError) as caught:
        encoder.encode_documents(["x"])
    config = EncoderConfig(kind="openai", openai=settings(server.url))
    said = "".join(traceback.format_exception(caught.value))
    assert len(caplog.records) > 5, "the clients' own debug records are among them"
    assert "trying again" in caplog.text
    assert any(f"Bearer {KEY}" in h["authorization"] for h in server.headers)
    files = [p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert any(b"manifest" in data or b"encoder" in data for data in files)
    records = "".join(str(vars(record)) for record in caplog.records)
    for text in (caplog.text, records, said, dump_config(config), repr(encoder), repr(config)):
        assert KEY not in text
    assert all(KEY.encode() not in data for data in files)
    assert KEY not in encoder.fingerprint


def fingerprint(url: str = "http://127.0.0.1:1/v1", **fields: Any) -> str:
    outer = {k: fields.pop(k) for k in list(fields) if k in EncoderConfig.model_fields}
    section = settings(url, **{"api_key_env": None, **fields})
    return OpenAIEncoder(EncoderConfig(kind="openai", openai=section, **outer)).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"openai_model": "other"},
        {"revision": "2"},
        {"dimensions": 4},
        {"max_chars": 9},
        {"query_prompt": "q: "},
        {"document_prompt": "d: "},
        {"normalize": False},
    ],
    ids=str,
)
def test_what_shapes_a_vector_is_in_the_fingerprint(change: dict[str, Any]) -> None:
    if "openai_model" in change:
        section = settings("http://127.0.0.1:1/v1", model="other", api_key_env=None)
        assert (
            OpenAIEncoder(EncoderConfig(kind="openai", openai=section)).fingerprint != fingerprint()
        )
    else:
        assert fingerprint(**change) != fingerprint()


def test_the_address_the_key_and_the_speed_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRITE_TEST_KEY", KEY)
    same = fingerprint(
        "https://example.invalid:9/v1",
        api_key_env="PYRITE_TEST_KEY",
        request_texts=1,
        concurrency=9,
        timeout_s=1,
        tokens_per_minute=5,
    )
    assert same == fingerprint()


def test_settings_that_cannot_work_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRITE_TEST_KEY", raising=False)
    for section in (OpenAIConfig(), OpenAIConfig(model="m"), settings("http://h/v1", model=None)):
        with pytest.raises(PyriteError, match=r"needs encoder\.openai\.base_url"):
            OpenAIEncoder(EncoderConfig(kind="openai", openai=section))
    with pytest.raises(PyriteError, match=r"api_key_env=PYRITE_TEST_KEY: .* not set"):
        OpenAIEncoder(EncoderConfig(kind="openai", openai=settings("http://h/v1")))


@pytest.mark.parametrize(
    "override",
    [
        f"openai.api_key_env={KEY}",
        f"openai.base_url=http://user:{KEY}@127.0.0.1/v1",
        f"openai.base_url=http://127.0.0.1/v1?key={KEY}",
        f"openai.base_url=ftp://{KEY}/v1",
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_repeated(override: str) -> None:
    with pytest.raises(PyriteError) as caught:
        load_config(EncoderConfig, None, [override])
    assert override.partition("=")[0] in str(caught.value)
    assert KEY not in str(caught.value)


def test_the_section_is_read_from_a_mapping() -> None:
    data = {"kind": "openai", "openai": {"base_url": "http://h:1/v1/", "model": "m"}}
    assert parse_config(EncoderConfig, data).openai.base_url == "http://h:1/v1"

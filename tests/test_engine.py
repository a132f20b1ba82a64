"""What `engine: ray` decides without a cluster: room, addresses, shards, the order of blocks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords, toy_dataset
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.beir import open_beir
from pyrite.core.embeddings import Embeddings, StoreLayout, embed, encode_in_memory
from pyrite.core.encode_blocks import encode_texts
from pyrite.core.encoder import F32, Role
from pyrite.core.encoders.precomputed import PrecomputedEncoder
from pyrite.core.engine import session as sessions
from pyrite.core.engine.blocks import _UnderWay
from pyrite.core.engine.config import RayConfig
from pyrite.core.engine.encoding import given_encoder, ray_encoder
from pyrite.core.engine.failure import Failure
from pyrite.core.engine.ledger import Ledger
from pyrite.core.engine.session import MIB, Session, open_session
from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.sbert import EncoderConfig
from pyrite.core.store import read_array
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_exact
from pyrite.indexes.retrieve import RetrieveConfig, _Search
from pyrite.indexes.shard import Piece, Shard
from pyrite.indexes.shards import cut, shards_of
from pyrite.indexes.sources import SearchInputs, searches_at_once
from pyrite.indexes.topk import order_rows


def session_with(cpus: float = 8, gpus: float = 0, nodes: int = 1, **keys: Any) -> Session:
    config = RayConfig.model_validate(keys)
    return Session(config, threads=1, cpus=cpus, gpus=gpus, node="", nodes=nodes, ours=False)


@pytest.mark.parametrize(
    ("keys", "cpus", "gpus", "room"),
    [
        ({}, 8, 0, 8),
        ({"cpus_per_worker": 0.5}, 2, 0, 4),
        ({"cpus_per_worker": 3}, 8, 0, 2),
        ({"gpus_per_worker": 0.25}, 16, 2, 8),
        ({"gpus_per_worker": 1, "cpus_per_worker": 4}, 16, 8, 4),
        ({"cpus_per_worker": 0}, 8, 0, 1),
        ({"workers": 3}, 8, 0, 3),
        ({"workers": 30}, 8, 0, 8),
    ],
)
def test_the_room_is_what_cpus_and_gpus_hold(
    keys: dict[str, Any], cpus: float, gpus: float, room: int
) -> None:
    session = session_with(cpus, gpus, **keys)
    assert session.room() == room
    assert session.workers() == keys.get("workers", room)


@pytest.mark.parametrize("key", ["cpus_per_worker", "gpus_per_worker"])
def test_a_worker_that_no_cluster_holds_is_refused(key: str) -> None:
    with pytest.raises(PyriteError, match=rf"ray\.{key}=9 but the cluster has \d [CG]PUs"):
        session_with(**{key: 9}).room()


def test_files_are_seen_on_one_node_or_where_it_is_said() -> None:
    assert session_with().sees_files
    assert not session_with(nodes=2).sees_files
    assert session_with(nodes=2, shared_cache=True).sees_files
    assert not session_with(shared_cache=False).sees_files


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        # bound and not listening: nobody else gets it, and nobody answers
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def test_an_address_is_refused_in_one_sentence() -> None:
    for address, says in [
        ("ray://head:10001", r"on a node of the cluster with ray\.address=auto"),
        ("head:port", r"ray\.address=head:port: expected host:port or auto"),
        ("local", r"ray\.address=local: expected host:port or auto"),
    ]:
        with pytest.raises(PyriteError, match=says):
            sessions._check_address(address)
    with closed_port() as port, pytest.raises(PyriteError, match=r"no cluster answers there \(.*"):
        sessions._check_address(f"127.0.0.1:{port}")
    sessions._check_address("auto")


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sessions, "_open", None)
    with pytest.raises(MissingExtraError, match=r"engine=ray needs .* 'pyrite\[ray\]'"):
        open_session(RayConfig())


def test_a_block_waits_for_its_turn_and_is_begun_so_often_and_no_more() -> None:
    async def play() -> None:
        ledger = Ledger(tries=2)
        early = asyncio.create_task(ledger.take(1))
        await ledger.add(0, ["zero"])
        assert await ledger.take(0) == ["zero"]
        assert not early.done()
        await ledger.add(1, ["one"])
        assert await early == ["one"]
        assert await ledger.take(1) == ["one"]
        assert await ledger.take(1) == []
        assert await ledger.begun() == {0: 1, 1: 3}
        await ledger.drop(0)
        again = asyncio.create_task(ledger.take(0))
        await asyncio.sleep(0)
        assert not again.done()
        again.cancel()

    asyncio.run(play())


class Unsendable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_a_failure_brings_the_error_or_at_least_its_words() -> None:
    for given_error, kind, words in [
        (PyriteError("set a=b"), PyriteError, "set a=b"),
        (MissingExtraError("x", "y", "z"), PyriteError, r"pyrite\[z\]"),
        (KeyError("k"), KeyError, "k"),
        (Unsendable(1, 2), RuntimeError, "1 and 2"),
    ]:
        with pytest.raises(kind, match=words):
            raise Failure.of(given_error).error()


def test_a_block_that_does_not_fit_twice_is_refused() -> None:
    session = session_with(workers=1, object_store_mib=128)
    _UnderWay(session, 9, "encode", 0)._check(64 * MIB)
    with pytest.raises(PyriteError, match=r"stage encode take 130 MiB .* to at least 130$"):
        _UnderWay(session, 9, "encode", 0)._check(65 * MIB)
    session.shared_bytes = 60 * MIB
    with pytest.raises(PyriteError, match=r"to at least 160$"):
        _UnderWay(session, 9, "encode", 0)._check(50 * MIB)


def test_encoders_that_compute_nothing_here_stay_on_the_driver(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = session_with(workers=1)
    np.save(tmp_path / "v.npy", np.zeros((3, 2), dtype=np.float32))
    files = {"corpus": str(tmp_path / "v.npy"), "queries": str(tmp_path / "v.npy")}
    config = EncoderConfig.model_validate({"kind": "precomputed", "precomputed": files})
    with caplog.at_level("INFO"):
        kept = ray_encoder(config, tmp_path, session)
    assert isinstance(kept, PrecomputedEncoder)
    assert given_encoder(kept, session) is kept
    assert "ray: encode: on the driver, as the vectors are there already" in caplog.text
    with pytest.raises(PyriteError, match=r"encoder\.device=cuda:0,cuda:1: with engine=ray a"):
        ray_encoder(EncoderConfig(device="cuda:0,cuda:1"), tmp_path, session)


class Scrambled(BagOfWords):
    """Several blocks under way, done in any order."""

    def __init__(self, seed: int, ahead: int) -> None:
        super().__init__()
        self.order = random.Random(seed)
        self.ahead = ahead
        self.blocks: list[int] = []

    def encode_blocks(
        self, blocks: Iterable[list[str]], count: int, role: Role, max_tokens: int
    ) -> Iterator[tuple[int, F32]]:
        waiting = []
        for number, texts in enumerate(blocks):
            self.blocks.append(number)
            waiting.append((number, encode_texts(self, texts, role, max_tokens)))
            if len(waiting) > self.ahead:
                yield waiting.pop(self.order.randrange(len(waiting)))
        self.order.shuffle(waiting)
        yield from waiting
        assert len(self.blocks) == count


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("seed", range(3))
def test_blocks_done_in_any_order_give_the_same_files(seed: int, tmp_path: Path) -> None:
    corpus = open_beir(toy_dataset(tmp_path / "toy"), tmp_path).corpus
    layout = StoreLayout(part_rows=16, shard_parts=3)
    embed(BagOfWords(), corpus, "document", tmp_path / "here", 64, layout=layout)
    far = Scrambled(seed, ahead=4)
    embed(far, corpus, "document", tmp_path / "there", 64, layout=layout)
    assert len(far.blocks) == -(-len(corpus) // 16)
    assert files(tmp_path / "here") == files(tmp_path / "there")
    one, other = (
        encode_in_memory(e, corpus, "document", 64) for e in (BagOfWords(), Scrambled(seed, 2))
    )
    assert one.shards[0].tobytes() == other.shards[0].tobytes()


class Noted:
    """A source that notes how many threads search it at once."""

    key = "noted"

    def __init__(self) -> None:
        self.now, self.most = 0, 0
        self.lock = threading.Lock()

    def search(self, start: int, stop: int, k: int) -> tuple[Any, Any]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1
        ids = np.arange(start, stop)[:, None] + np.arange(k)
        return ids, np.tile(-np.arange(k, dtype=np.float32), (stop - start, 1))

    def memory_bytes(self, batch: int, k: int) -> int:
        return 0


class Workers(Noted):
    at_once = 2


@pytest.mark.parametrize(
    ("kinds", "at_once"), [([Noted], 1), ([Workers], 2), ([Workers, Noted], 1)]
)
def test_only_what_workers_search_is_under_way_several_times(
    kinds: list[type[Noted]], at_once: int, tmp_path: Path
) -> None:
    dataset = open_beir(toy_dataset(tmp_path / "toy"), tmp_path)
    config = RetrieveConfig.model_validate(
        {
            "depth": 5,
            "block_queries": 4,
            "sources": [{"kind": "bm25s", "name": str(at)} for at in range(len(kinds))],
        }
    )
    rows = np.arange(30)
    inputs = SearchInputs(dataset.queries, dataset.corpus, rows, None, None)
    sources = [kind() for kind in kinds]
    assert searches_at_once(sources) == at_once
    _Search(inputs, config, list(sources), tmp_path / "found").run()
    # as many threads as there are, and never more
    assert max(source.most for source in sources) == at_once
    found = read_array(tmp_path / "found" / "ids.npy")
    assert [sorted(ids) for ids in found.tolist()] == [list(range(q, q + 5)) for q in range(30)]


def test_sources_of_one_corpus_share_its_shards_while_one_is_there() -> None:
    session, rank_N = session_with(), np.arange(9)
    corpus = Embeddings.from_array(np.zeros((9, 2), dtype=np.float32), "key")
    one = shards_of(IndexConfig(), corpus, rank_N, session)
    assert shards_of(IndexConfig(backend="faiss"), corpus, rank_N, session) is one
    assert shards_of(IndexConfig(), corpus, rank_N[::-1].copy(), session) is not one
    other = Embeddings.from_array(np.ones((9, 2), dtype=np.float32), "other")
    assert shards_of(IndexConfig(), other, rank_N, session) is not one
    del one
    gc.collect()
    assert not session.holders


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 9))
def test_shards_hold_every_row_once(rows: int, shard_rows: int, shards: int) -> None:
    shards = min(shards, rows)
    array = np.zeros((rows, 1), dtype=np.float32)
    corpus = Embeddings(tuple(np.split(array, range(shard_rows, rows, shard_rows))), shard_rows, "")
    parts = cut(corpus, shards)
    held = [row for part in parts for piece in part for row in range(piece.start, piece.stop)]
    assert held == list(range(rows))
    sizes = [sum(piece.stop - piece.start for piece in part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for part in parts:
        assert len(part) <= 3
        for piece in part:
            inside = piece.of(corpus)
            taken = [n * shard_rows + r for n, s in inside for r in range(s.start, s.stop)]
            assert taken == list(range(piece.start, piece.stop))
            # several files are whole ones: only so are they one mapped index
            lengths = [s.stop - s.start for _, s in inside]
            assert set(lengths[:-1]) <= {shard_rows}
            assert len(lengths) == 1 or inside[0][1].start == 0


@pytest.mark.parametrize("backend", ["torch", "faiss"])
@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("mapped", [False, True])
def test_shards_merged_are_the_whole_search(
    backend: str, shards: int, mapped: bool, tmp_path: Path
) -> None:
    random_state = np.random.default_rng(shards)
    # few values, so that there are ties within shards and across them
    values = random_state.integers(-2, 3, size=(300, 4)).astype(np.float32)
    paths = []
    for at, part in enumerate(np.split(values, [120, 240])):
        paths.append(tmp_path / f"{at}.npy")
        np.save(paths[-1], part)
    corpus = Embeddings(tuple(np.load(path, mmap_mode="r") for path in paths), 120, "")
    rank_N = random_state.permutation(300)
    queries = random_state.integers(-2, 3, size=(20, 4)).astype(np.float32)
    config = IndexConfig.model_validate({"backend": backend})
    k = 100
    whole = open_exact(config, corpus, rank_N, 1).search(queries, k)
    ids, scores = [], []
    for number, pieces in enumerate(cut(corpus, shards)):
        shard = Shard(config, 1, "index")
        for piece in pieces:
            hold(shard, number, piece, corpus, rank_N, paths if mapped else None)
        found = shard.search(number, queries, k)
        ids.append(found[0])
        scores.append(found[1])
    merged = order_rows(np.concatenate(ids, 1), np.concatenate(scores, 1), rank_N, k)
    np.testing.assert_array_equal(merged[0], whole[0])
    assert merged[1].tobytes() == whole[1].tobytes()


def hold(
    shard: Shard,
    number: int,
    piece: Piece,
    corpus: Embeddings,
    rank_N: np.ndarray,
    paths: list[Path] | None,
) -> None:
    rank = rank_N[piece.start : piece.stop]
    if paths is not None:
        inside = [(str(paths[at]), rows) for at, rows in piece.of(corpus)]
        shard.map(number, piece, inside, rank)
        return
    shard.begin(piece, corpus.dimension, "<f4")
    for row in range(piece.start, piece.stop, 7):
        rows = np.arange(row, min(row + 7, piece.stop))
        shard.add(piece, row - piece.start, corpus.take(rows))
    shard.end(number, piece, rank)

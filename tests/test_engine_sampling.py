"""Blocks that are chosen for elsewhere: pickled, done in any order, and the same bytes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BagOfWords, SharedWords
from test_miner_mine import FILES, settings

from pyrite.core.embeddings import Embeddings
from pyrite.core.engine.packed import Packed
from pyrite.core.errors import PyriteError
from pyrite.core.store import write_array
from pyrite.miner.choose_block import Block, Chooser, Chosen
from pyrite.miner.mine import Mined, mine
from pyrite.miner.spread import spread_of

OPEN = {"percent": None, "margin": None}
SHAPES: dict[str, dict[str, Any]] = {
    "simans": {"sampler": {"name": "simans", "n": 4}},
    "random alone": {"sampler": {"name": "random", "n": 4}},
    "mix and fall-backs": {
        "filters": {"margin": 0.3},
        "sampler": {
            "mix": [{"name": "topk", "n": 2}, {"name": "random", "n": 1, "outside": True}],
            "on_short": ["relax", "random_fill"],
        },
    },
    "a cap": {"filters": OPEN, "sampler": {"name": "topk", "n": 4, "max_uses": 2}},
    "each positive": {
        "filters": {**OPEN, "positive_score": "each", "calibrate": "ecdf"},
        "sampler": {"name": "topk", "n": 3},
    },
    "vectors": {
        "filters": {
            "percent": None,
            "near_positive": 0.9,
            "two_conditions": True,
            "positive_score": "max",
            "cluster_false_negatives": True,
            "max_per_cluster": 2,
            "clusters": 6,
        },
        "sampler": {"name": "saha", "n": 2},
    },
    "second-nearest cluster": {
        "filters": {**OPEN, "clusters": 6},
        "sampler": {"name": "topk", "n": 2, "cluster": "second_nearest"},
    },
    "denoised": {
        "filters": {**OPEN, "denoise": {"model": "fake", "depth": 20}},
        "sampler": {"name": "topk", "n": 2},
    },
}


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = "pyrite.miner.denoise_checks.CrossEncoderScorer"
    monkeypatch.setattr(scorer, lambda *_: SharedWords())


def elsewhere(shared_files: bool, sizes: list[int]) -> Any:
    """What a `Spread` does with other processes, without them; the last block is done first."""

    def spread(
        chooser: Chooser, blocks: Iterator[Block], count: int, result_bytes: int
    ) -> Iterator[tuple[int, Chosen]]:
        packed = Packed.of(chooser.without_vectors(), shared_files)
        raw = pickle.dumps(packed, protocol=5)
        sizes.append(len(raw))
        sent = [pickle.dumps(block, protocol=5) for block in blocks]
        assert len(sent) == count
        for at in reversed(range(count)):
            # every worker has a copy of its own
            there: Chooser = pickle.loads(raw).open()
            back = pickle.dumps(there(pickle.loads(sent[at])), protocol=5)
            assert len(back) <= result_bytes
            yield at, pickle.loads(back)

    return spread


def chosen_elsewhere(
    folder: Path, toy: Path, shape: str, shared_files: bool = False, **changes: Any
) -> tuple[Mined, int]:
    sizes: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrite.miner.choose_all.spread_of", lambda _: elsewhere(shared_files, sizes))
        config = settings(folder, toy, **SHAPES[shape], **changes)
        mined = mine(config, BagOfWords())
    assert len(sizes) == 1
    return mined, sizes[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_chosen_for_elsewhere_give_the_same_files(
    toy: Path, tmp_path: Path, shape: str
) -> None:
    local = mine(settings(tmp_path / "a", toy, **SHAPES[shape]), BagOfWords())
    mined, _ = chosen_elsewhere(tmp_path / "b", toy, shape, block_queries=7)
    assert local.tally.drawn > 20
    for file in FILES:
        assert (local.folder / file).read_bytes() == (mined.folder / file).read_bytes()
    assert local.tally.as_json() == mined.tally.as_json()
    assert local.manifest.data["key"] == mined.manifest.data["key"]


def test_what_a_worker_gets_has_vectors_only_where_a_rule_looks_at_them(
    toy: Path, tmp_path: Path
) -> None:
    vectors = 120 * 16 * 4
    _, light = chosen_elsewhere(tmp_path / "a", toy, "simans")
    _, heavy = chosen_elsewhere(tmp_path / "b", toy, "vectors")
    _, named = chosen_elsewhere(tmp_path / "c", toy, "vectors", shared_files=True)
    assert heavy > light + vectors
    # files of a shared cache go as their names
    assert named < heavy - vectors


class Full:
    """A session whose object store has no room."""

    sees_files = False

    def __init__(self) -> None:
        self.said: list[str] = []

    def share(self, value: object) -> object:
        raise PyriteError("ray.object_store_mib=128: too little")

    def plan(self, text: str) -> None:
        self.said.append(text)


def test_what_does_not_fit_into_the_store_is_chosen_here_and_said(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = mine(settings(tmp_path / "a", toy, **SHAPES["simans"]), BagOfWords())
    full: Any = Full()
    monkeypatch.setattr("pyrite.miner.choose_all.spread_of", lambda _: spread_of(full))
    found = mine(settings(tmp_path / "b", toy, **SHAPES["simans"]), BagOfWords())
    assert full.said == ["sample: on the driver, ray.object_store_mib=128: too little"]
    for file in FILES:
        assert (local.folder / file).read_bytes() == (found.folder / file).read_bytes()


def test_a_mapped_array_is_packed_as_an_array_or_as_its_file(tmp_path: Path) -> None:
    rows = np.arange(4096, dtype=np.float32).reshape(512, 8)
    write_array(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    value = [Embeddings((mapped, mapped[3:]), 512, "key"), {"other": 1}]
    for shared_files, least in ((False, rows.nbytes), (True, 0)):
        raw = pickle.dumps(Packed.of(value, shared_files), protocol=5)
        # a slice does not know where in the file it begins, so it goes as an array
        assert least + rows.nbytes - 96 < len(raw) < least + rows.nbytes + 2000
        vectors, other = pickle.loads(raw).open()
        assert other == {"other": 1}
        assert vectors.key == "key"
        assert [s.tolist() for s in vectors.shards] == [rows.tolist(), rows[3:].tolist()]
        assert isinstance(vectors.shards[0], np.memmap) == shared_files
    gone = Packed.of(value, shared_files=True)
    (tmp_path / "rows.npy").unlink()
    with pytest.raises(PyriteError, match=r"rows\.npy: not a readable"):
        gone.open()


def test_one_object_stays_one_object() -> None:
    shard = np.zeros((2, 2), dtype=np.float32)
    vectors = Embeddings((shard,), 2, "")
    first, second = Packed.of((vectors, vectors), shared_files=False).open()
    assert first is second
    assert first.shards[0] is shard

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_setup import in_process
from quick import quick
from sentence_transformers import SentenceTransformer
from tiny_model import tiny_model

from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest, write_json
from pyrite.trainers.generations import Generation, Generations
from pyrite.trainers.refresh_home import RefreshHome
from pyrite.trainers.refresh_lock import is_held
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.swaps import Swap, Swaps
from pyrite.trainers.weights import (
    Weights,
    check_weights,
    newest_weights,
    publish_weights,
    remove_weights,
    remove_weights_after,
)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model(tmp_path_factory.mktemp("tiny"))), device="cpu")


def write_generation(home: RefreshHome, number: int, step: int, **changes: Any) -> Generation:
    folder = home.generations / f"{number:06d}"
    write_json(folder / "negatives.parquet", number)
    facts: dict[str, Any] = {
        "training": "key",
        "step": step,
        "adopted": True,
        "reason": "",
        "weights": "w",
    }
    facts |= {"measured": {}, "reasons": [], "seconds": 0.5, **changes}
    Manifest.write(folder, kind="generation", **facts)
    found = Generations(home, "key").get(number)
    assert found is not None or changes
    return found if found is not None else Generation(folder, number, Manifest({}))


def test_published_weights_are_whole_and_load(model: SentenceTransformer, tmp_path: Path) -> None:
    assert newest_weights(tmp_path, "key") is None
    first, there = publish_weights(model, tmp_path, 9, "key")
    again, there_now = publish_weights(model, tmp_path, 9, "key")
    assert (there, there_now, again) == (False, True, first)
    later, _ = publish_weights(model, tmp_path, 10, "key")
    assert later.key == first.key
    assert newest_weights(tmp_path, "key") == later
    assert newest_weights(tmp_path, "other") is None
    loaded = SentenceTransformer(str(later.folder), device="cpu").state_dict()
    assert all(loaded[name].equal(values) for name, values in model.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000009", "step-00000010"]


def test_half_published_weights_are_not_read(model: SentenceTransformer, tmp_path: Path) -> None:
    weights, _ = publish_weights(model, tmp_path, 1, "key")
    for name in ("step-00000002", "step-00000003.tmp-0-1-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    (tmp_path / "step-00000004").mkdir()
    (tmp_path / "step-00000004" / "manifest.json").write_text("{", encoding="utf-8")
    assert newest_weights(tmp_path, "key") == weights
    check_weights(weights)
    (weights.folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(PyriteError, match="step-00000001"):
        check_weights(weights)
    repaired, there = publish_weights(model, tmp_path, 1, "key")
    assert (repaired, there) == (weights, False)
    check_weights(repaired)


def test_old_weights_go(model: SentenceTransformer, tmp_path: Path) -> None:
    for step in (2, 10, 9, 100):
        publish_weights(model, tmp_path, step, "key")
    remove_weights_after(tmp_path, 10)
    assert sorted(path.name[-3:] for path in tmp_path.iterdir()) == ["002", "009", "010"]
    remove_weights(tmp_path, 2)
    assert sorted(path.name[-3:] for path in tmp_path.iterdir()) == ["009", "010"]


def test_generations_are_in_the_order_of_their_weights(tmp_path: Path) -> None:
    home = RefreshHome.of(tmp_path)
    store = Generations(home, "key")
    assert (store.all(), store.next_number(), store.last_adopted(99)) == ([], 1, None)
    for number, step in ((1, 10), (2, 30), (3, 20)):
        write_generation(home, number, step)
    write_generation(home, 4, 25, adopted=False, reason="bad")
    write_generation(home, 5, 40, training="another")
    (home.generations / "000006").mkdir()
    (home.generations / "000007.tmp-0-1-2").mkdir()
    assert [generation.number for generation in store.all()] == [1, 3, 4, 2]
    assert store.next_number() == 7
    found = [store.last_adopted(step) for step in (10, 11, 30, 31)]
    assert [generation and generation.number for generation in found] == [None, 1, 3, 2]
    (home.generations / "000003" / "negatives.parquet").write_bytes(b"")
    last = store.last_adopted(30)
    assert last is not None
    assert last.number == 1


def test_a_manifest_with_a_flipped_bit_is_no_error(tmp_path: Path) -> None:
    home = RefreshHome.of(tmp_path)
    store = Generations(home, "key")
    weights = Weights(tmp_path, 10, "w", "key")
    path = write_generation(home, 1, 10).folder / "manifest.json"
    whole, left_out = path.read_bytes(), 0
    for at in range(len(whole)):
        raw = bytearray(whole)
        raw[at] ^= 1 << at % 8
        path.write_bytes(raw)
        # whatever is found is whole
        found = [store.last_adopted(99), store.of_weights(weights)]
        assert all(g is None or g.manifest.intact(g.folder) for g in found)
        left_out += found == [None, None]
    assert left_out > len(whole) / 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"generation": 2}', '{"step": "x"}'])
def test_a_damaged_pointer_is_written_anew(tmp_path: Path, content: str) -> None:
    home = RefreshHome.of(tmp_path)
    store = Generations(home, "key")
    made = write_generation(home, 1, 10)
    (home.folder / "CURRENT").write_text(content, encoding="utf-8")
    assert store.remove({1}, keep=0) == []
    store.point_to(made)
    assert home.read("CURRENT") == {"generation": 1, "step": 10}


@pytest.mark.parametrize("then", [0, 4_000_000_000])
def test_no_clock_decides(model: SentenceTransformer, tmp_path: Path, then: int) -> None:
    home = RefreshHome.of(tmp_path)
    store = Generations(home, "key")
    for at in (1, 2):
        publish_weights(model, home.weights, at, "key")
        write_generation(home, at, at)
    newest, last = newest_weights(home.weights, "key"), store.last_adopted(99)
    for path in (home.folder, *home.folder.rglob("*")):
        # the first is from now, everything else from another time
        if "0001" not in str(path):
            os.utime(path, (then, then))
    assert newest_weights(home.weights, "key") == newest
    assert store.last_adopted(99) == last
    assert store.remove(set(), keep=1) == [1]
    remove_weights(home.weights, 1)
    assert [path.name for path in home.weights.iterdir()] == ["step-00000002"]


def test_current_never_goes_back(tmp_path: Path) -> None:
    home = RefreshHome.of(tmp_path)
    store = Generations(home, "key")
    made = [write_generation(home, number, 10 * number) for number in (1, 2, 3)]
    for generation in (made[0], made[2], made[1]):
        store.point_to(generation)
    assert home.read("CURRENT") == {"generation": 3, "step": 30}


def test_what_is_needed_stays(tmp_path: Path) -> None:
    home = RefreshHome.of(tmp_path)
    store = Generations(home, "key")
    for number in range(1, 9):
        store.point_to(write_generation(home, number, number))
    assert store.remove({3}, keep=2) == [1, 2, 4, 5]
    assert store.numbers() == [3, 6, 7, 8]
    assert store.remove(set(), keep=0) == [3, 6, 7]
    assert store.numbers() == [8]


def test_swaps_are_kept_once_and_forgotten(tmp_path: Path) -> None:
    home = RefreshHome.of(tmp_path)
    swaps = Swaps(home)
    assert (swaps.last, swaps.at(3)) == (-1, None)
    rows = [Swap(1, 3, 5), Swap(2, 8, 10), Swap(3, 12, 14)]
    for swap in (*rows, rows[0]):
        swaps.record(swap)
    again = Swaps(home)
    assert [again.at(step) for step in (3, 8, 12)] == rows
    assert (again.last, again.after(3)) == (12, {2, 3})
    # another decision at a step makes what came after it untrue
    again.record(Swap(4, 8, 12))
    assert (again.last, again.at(12)) == (8, None)
    again.forget(7)
    assert Swaps(home).last == 3


def test_another_training_s_files_go_and_its_own_stay(tmp_path: Path) -> None:
    home = RefreshHome.of(tmp_path)
    home.begin("key", TrainConfig())
    write_generation(home, 1, 10)
    Swaps(home).record(Swap(1, 10, 12))
    home.begin("key", TrainConfig())
    assert (home.generations / "000001" / "manifest.json").exists()
    home.begin("other", TrainConfig())
    assert not home.generations.exists()
    assert Swaps(home).last == -1
    assert home.read("training.json") == {"key": "other", "state": "running"}


def test_the_cache_shares_what_is_made_of_texts_alone(tmp_path: Path) -> None:
    home, shared = RefreshHome.of(tmp_path / "run"), tmp_path / "cache"
    for name in ("texts/a", "embeddings/b"):
        (shared / name).mkdir(parents=True)
    own = home.own_cache(shared)
    (own / "embeddings" / "c").mkdir(parents=True)
    (own / "embeddings" / "d").mkdir()
    assert (own / "texts" / "a").exists()
    assert not (own / "embeddings" / "b").exists()
    home.own_cache(shared)
    home.prune_cache({"d"})
    assert [path.name for path in (own / "embeddings").iterdir()] == ["d"]
    assert (shared / "texts" / "a").exists()
    assert (shared / "embeddings" / "b").exists()


HOLD = """
import sys, time
from pathlib import Path
from pyrite.trainers.refresh_lock import refresher_lock
with refresher_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_refresher_is_told_and_a_dead_one_s_lock_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = RefreshHome.of(tmp_path)
    write_json(home.folder / "training.json", {"key": "key", "state": "finished"})
    assert not is_held(home.lock)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.lock)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert is_held(home.lock)
        second = in_process(monkeypatch, capfd, "refresh", str(tmp_path))
        assert second.code == 2
        assert len(second.errors) == 1
        assert f"another refresher has this run (process {other.pid} on " in second.errors[0]
        other.send_signal(signal.SIGKILL)
    assert not is_held(home.lock)
    third = in_process(monkeypatch, capfd, "refresh", str(tmp_path))
    assert (third.code, third.out) == (0, f"made 0 generations of {tmp_path}\n")


def test_a_run_that_refreshes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = in_process(monkeypatch, capfd, "refresh", str(tmp_path / "nowhere"))
    assert found.code == 2
    assert len(found.errors) == 1
    assert "no training that refreshes its negatives" in found.errors[0]
    assert not (tmp_path / "nowhere").exists()

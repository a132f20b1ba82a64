"""Sampling, relabelling and a refresher on a cluster of this machine, and what a kill costs."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import BagOfWords, SharedWords, toy_dataset
from refresh_setup import RefreshBench, generations_of, home_of, same, swaps_of
from test_engine_judges import settings as judged
from test_miner_mine import FILES
from test_miner_mine import settings as mined
from test_relabel_run import train_file

from pyrite import relabel
from pyrite.core.engine.actors import Actors
from pyrite.core.engine.config import RayConfig
from pyrite.core.engine.session import close_session, open_session
from pyrite.core.errors import PyriteError
from pyrite.miner.choose_block import Block, Chooser, Chosen
from pyrite.miner.mine import mine
from pyrite.miner.relabel.case import Case
from pyrite.miner.relabel.judges import cross
from pyrite.miner.relabel.judges.pooled import JudgeWorker
from pyrite.trainers.arrivals import WithRefresher
from pyrite.trainers.refresh_actor import RefresherActor
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.weights import Weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
RAY = {"workers": 2, "object_store_mib": 200}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_session()


def note(notes: Path, name: str, deadly: str) -> None:
    """Write down that something is begun; the first time that it is `deadly`, die."""
    with notes.open("a", encoding="utf-8") as handle:
        handle.write(f"{name}\n")
    if name == deadly and notes.read_text("utf-8").splitlines().count(name) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def begun(notes: Path) -> Counter[str]:
    return Counter(notes.read_text("utf-8").splitlines())


@dataclass(frozen=True, slots=True)
class DyingChooser(Chooser):
    """Kills its process at the second block of the run."""

    notes: Path = Path()

    def __call__(self, block: Block) -> Chosen:
        note(self.notes, str(block.places[0]), "7")
        return Chooser.__call__(self, block)


def test_a_worker_killed_while_it_samples_costs_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = toy_dataset(tmp_path / "toy")
    # vectors go to the workers, and several parts draw
    sampler = {"mix": [{"name": "simans", "n": 2}, {"name": "random", "n": 2}]}
    local = mine(mined(tmp_path / "local", toy, sampler=sampler), BagOfWords())
    found = mined(tmp_path / "ray", toy, sampler=sampler, block_queries=7, engine="ray", ray=RAY)
    notes = tmp_path / "notes"
    dying = partial(DyingChooser, notes=notes)
    monkeypatch.setattr("pyrite.miner.choose_all.Chooser", dying)
    # the encoding and the search of before: only sampling is left to the workers
    cache = found.model_copy(update={"cache_dir": str(tmp_path / "local" / "cache")})
    killed = mine(cache, BagOfWords())
    for file in FILES:
        assert (local.folder / file).read_bytes() == (killed.folder / file).read_bytes()
    assert begun(notes) == {"0": 1, "7": 2, "14": 1, "21": 1, "28": 1}
    assert local.manifest.data["key"] == killed.manifest.data["key"]
    assert killed.manifest.data["config"]["engine"] == "local"


class DyingJudge(JudgeWorker):
    """A cross-encoder without a model, which kills its process at the third row."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self.notes = notes
        vars(cross)["CrossEncoderScorer"] = no_model

    def __call__(self, item: Any) -> list[Any]:
        _, asked = item
        assert isinstance(asked, Case)
        note(self.notes, asked.query, "query 3")
        return super().__call__(item)


def no_model(*_: object) -> SharedWords:
    return SharedWords()


def test_a_worker_killed_while_it_judges_costs_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_file(tmp_path, 12)
    monkeypatch.setattr(cross, "CrossEncoderScorer", no_model)
    section = {"model": "any", "low": 0.3, "high": 0.36}
    stages: list[dict[str, Any]] = [
        {"judge": "duplicates"},
        {"judge": "cross-encoder", "cross_encoder": section},
    ]
    local = relabel(judged(tmp_path / "local", stages))
    notes = tmp_path / "notes"
    monkeypatch.setattr("pyrite.miner.relabel.pool.JudgeWorker", partial(DyingJudge, notes))
    found = relabel(judged(tmp_path / "ray", stages, engine="ray", ray=RAY))
    assert len(local.report["states"]) > 1
    names = {path.name for path in local.folder.iterdir()} - {"manifest.json", "relabel.yaml"}
    for name in names:
        assert (found.folder / name).read_bytes() == (local.folder / name).read_bytes(), name
    assert begun(notes) == {f"query {n}": 1 + (n == 3) for n in range(1, 13)}


def test_what_a_judging_worker_raises_is_raised_here() -> None:
    session = open_session(RayConfig.model_validate({**RAY, "workers": 1, "tries": 2}), threads=1)

    def deadly(item: int) -> int:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return 1 // (item - 1)

    with closing(Actors(session, lambda: deadly, "test")) as pool:
        assert list(pool.map([0, 3, 0])) == [-1, 0, -1]
        with pytest.raises(ZeroDivisionError):
            pool.call(1)
        with pytest.raises(PyriteError, match=r"^test: a call was begun 2 times \(ray\.tries\)"):
            pool.call(2)

    def broken() -> Any:
        raise PyriteError("no such model on this node")

    with closing(Actors(session, broken, "test")) as pool:
        with pytest.raises(PyriteError, match=r"^no such model on this node$"):
            pool.call(0)


def test_a_refresher_in_an_actor_that_is_killed_changes_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a refresher in another process draws no noise of the trainer's
    bench = RefreshBench.build(tmp_path, dropout=0.0)
    sync = bench.config("sync", {"mode": "sync"})
    weights = bench.train(sync)
    waiting: dict[str, Any] = {"mode": "async", "max_age_steps": 0}
    config = bench.config("actor", waiting)
    refresh = config.refresh.model_copy(update={"refresher": "ray"})
    ray = RayConfig.model_validate(RAY)
    config = config.model_copy(update={"engine": "ray", "ray": ray, "refresh": refresh})
    pids = []
    published = WithRefresher.published

    def kill_once(self: WithRefresher, made: Weights) -> None:
        published(self, made)
        process = self._process
        assert isinstance(process, RefresherActor)
        assert process.pid is not None
        pids.append(process.pid)
        if len(pids) == 1:
            os.kill(process.pid, signal.SIGKILL)

    monkeypatch.setattr(WithRefresher, "published", kill_once)
    assert same(bench.train(TrainConfig.model_validate(config)), weights)
    assert swaps_of(config) == swaps_of(sync)
    assert len(generations_of(config)) == len(generations_of(sync)) == 2
    assert len(set(pids)) == 2
    assert "generation 1" in (home_of(config).folder / "refresher.log").read_text("utf-8")
    # it ended with the training
    assert not Path(f"/proc/{pids[-1]}").exists() or zombie(pids[-1])


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0] == "Z"

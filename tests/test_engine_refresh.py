"""Refreshes with `engine: ray`, without a cluster: who encodes, and who is refreshed where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import BagOfWords
from refresh_setup import RefreshBench

from pyrite.core.engine.config import RayConfig, anywhere
from pyrite.core.engine.session import Session
from pyrite.core.errors import PyriteError
from pyrite.trainers import make_generation, refresh_vectors
from pyrite.trainers.arrivals import _refresher
from pyrite.trainers.refresh_actor import _ALONE, Refresher, RefresherActor
from pyrite.trainers.refresh_process import RefresherProcess
from pyrite.trainers.run_config import TrainConfig


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> RefreshBench:
    return RefreshBench.build(tmp_path_factory.mktemp("refresh"))


def on_ray(config: TrainConfig, refresher: str = "spawn") -> TrainConfig:
    refresh = config.refresh.model_copy(update={"refresher": refresher})
    return config.model_copy(update={"engine": "ray", "refresh": refresh})


def session(nodes: int) -> Session:
    return Session(RayConfig(), threads=1, cpus=8, gpus=0, node="", nodes=nodes, ours=False)


@pytest.mark.parametrize(
    ("refresher", "kind"),
    [("spawn", RefresherProcess), ("external", type(None)), ("ray", RefresherActor)],
)
def test_who_is_started(bench: RefreshBench, refresher: str, kind: type[object]) -> None:
    config = bench.config("who", {"mode": "async"})
    assert type(_refresher(on_ray(config, refresher))) is kind


@pytest.mark.parametrize(("nodes", "workers"), [(1, True), (3, False)])
def test_the_workers_encode_where_they_see_the_weights(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch, nodes: int, workers: bool
) -> None:
    config = bench.config("encode", {"mode": "sync"})
    assert not hasattr(make_generation._encoder(config), "encode_blocks")
    monkeypatch.setattr(make_generation, "session_of", lambda _: session(nodes))
    found = make_generation._encoder(on_ray(config))
    assert hasattr(found, "encode_blocks") == workers
    assert found.fingerprint == make_generation._encoder(config).fingerprint


def test_search_and_sampling_get_the_session(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = bench.config("session", {"mode": "sync"})
    here = session(1)
    monkeypatch.setattr(refresh_vectors, "session_of", lambda _: here)
    encoder: Any = BagOfWords()
    for run, given in ((config, None), (on_ray(config), here)):
        prepared, report = refresh_vectors.prepare_generation(run, run, encoder, 1, None)
        assert prepared.session is given
        assert report is None


def test_only_an_actor_may_have_a_device_that_is_not_here(bench: RefreshBench) -> None:
    config = bench.config("device", {"mode": "async", "device": "abacus"})
    with pytest.raises(PyriteError, match="abacus"):
        make_generation.check_refresh(config)
    make_generation.check_refresh(on_ray(config, "ray"))


def test_an_actor_without_the_folder_says_so(tmp_path: Path) -> None:
    said = Refresher().work(str(tmp_path / "gone"))
    assert said.startswith(f"{tmp_path / 'gone'} is not there on its node; set runs_dir")


def test_an_actor_s_own_settings_need_no_cluster(bench: RefreshBench) -> None:
    config = on_ray(bench.config("alone", {"mode": "async"}), "ray")
    found = TrainConfig.model_validate(
        {
            **config.model_dump(mode="json"),
            "engine": "local",
            "ray": {},
            "refresh": {**config.refresh.model_dump(mode="json"), "refresher": "external"},
        }
    )
    assert found.refresh.decisive == config.refresh.decisive
    assert _ALONE == ("engine=local", "ray={}", "refresh.refresher=external")
    assert anywhere(found).model_dump(exclude={"refresh"}) == anywhere(config).model_dump(
        exclude={"refresh"}
    )

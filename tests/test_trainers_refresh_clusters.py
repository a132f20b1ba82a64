from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from quick import quick
from refresh_setup import (
    RefreshBench,
    generations_of,
    home_of,
    negatives_in,
    same,
)

from pyrite.core.config import dump_config, parse_config
from pyrite.miner.carried_clusters import Carried, carry, state_in
from pyrite.miner.online_clusters import OnlineClusters
from pyrite.trainers import make_generation
from pyrite.trainers.run_config import TrainConfig

CAPPED = {"max_per_cluster": 1, "clusters": 6}
SYNC = {"mode": "sync", "cluster_rate": 0.5}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> RefreshBench:
    return RefreshBench.build(tmp_path_factory.mktemp("refresh"))


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[OnlineClusters, Carried]]:
    """What each generation began with and came to."""
    seen: list[tuple[OnlineClusters, Carried]] = []

    def record(state: OnlineClusters, *rest: Any) -> Carried:
        seen.append((state, carry(state, *rest)))
        return seen[-1][1]

    monkeypatch.setattr(make_generation, "carry", record)
    return seen


def state_of(folder: Path) -> OnlineClusters:
    state = state_in(folder)
    assert state is not None
    return state


def alike(left: OnlineClusters, right: OnlineClusters) -> bool:
    arrays = (left.centroids, right.centroids), (left.counts, right.counts)
    same_bytes = all(a.tobytes() == b.tobytes() for a, b in arrays)
    return same_bytes and (left.generation, left.vectors) == (right.generation, right.vectors)


def test_each_generation_goes_on_from_the_last(
    bench: RefreshBench, carried: list[tuple[OnlineClusters, Carried]]
) -> None:
    whole = bench.config("whole", SYNC, filters=CAPPED)
    bench.train_only(whole)
    made = generations_of(whole)
    folders = [whole.run_folder / "negatives", *(g.folder for g in made)]
    ids = bench.dataset().corpus.ids
    assert [state_of(folder).generation for folder in folders] == [0, 1, 2]
    for at, (begun, found) in enumerate(carried):
        assert alike(begun, state_of(folders[at]))
        assert alike(found.state, state_of(folders[at + 1]))
        assert found.state.centroids.tobytes() != begun.centroids.tobytes()
        assert found.state.counts.sum() == 120 * (at + 1)
        said = made[at].manifest.data["clusters"]
        assert said == found.as_json()
        assert (said["documents"], said["clusters"], said["moved"]) == (120, 6, True)
        for negatives in negatives_in(made[at].folder).values():
            uses = Counter(found.clusters.assign[ids.find(negatives)].tolist())
            assert max(uses.values(), default=0) <= 1
        assert "clusters/centroids.npy" in made[at].manifest.data["files"]
    assert not (home_of(whole).folder / "cache" / "clusters").exists()


def test_a_killed_refresh_carries_on_to_the_same_bytes(bench: RefreshBench) -> None:
    whole = bench.config("whole", SYNC, filters=CAPPED)
    expected = bench.train(whole)
    made = generations_of(whole)
    killed = bench.config("killed", SYNC, filters=CAPPED)
    # between the second generation and the checkpoint after it
    bench.killed(killed, 9)
    assert same(bench.train(killed), expected)
    for left, right in zip(generations_of(killed), made, strict=True):
        assert alike(state_of(left.folder), state_of(right.folder))
        assert negatives_in(left.folder) == negatives_in(right.folder)
        keys = [g.manifest.data["mined"]["key"] for g in (left, right)]
        assert keys[0] == keys[1]


def test_unchanged_weights_move_no_centroid(bench: RefreshBench) -> None:
    # a step of this size is lost in the rounding of every weight
    config = bench.config("still", SYNC, filters=CAPPED, train={"learning_rate": 1e-30})
    bench.train_only(config)
    first = config.run_folder / "negatives"
    found = generations_of(config)
    assert [negatives_in(g.folder) for g in found] == [negatives_in(first)] * 2
    assert [g.manifest.data["clusters"]["moved"] for g in found] == [False, False]
    centroids = {state_of(f).centroids.tobytes() for f in (first, *(g.folder for g in found))}
    assert len(centroids) == 1


@pytest.mark.slow
def test_a_refused_generation_is_not_carried_on(
    bench: RefreshBench, carried: list[tuple[OnlineClusters, Carried]]
) -> None:
    config = bench.config("refused", {**SYNC, "gate": {"min_overlap": 1.0}}, filters=CAPPED)
    bench.train_only(config)
    assert [g.adopted for g in generations_of(config)] == [False, False]
    first = state_of(config.run_folder / "negatives")
    assert all(alike(begun, first) for begun, _ in carried)
    assert [found.state.generation for _, found in carried] == [1, 1]


@pytest.mark.slow
def test_vectors_that_are_not_of_unit_length_are_clustered_anew(bench: RefreshBench) -> None:
    off = {"normalize": False}
    config = bench.config("long", {"mode": "sync"}, filters=CAPPED, encoder=off)
    bench.train_only(config)
    found = generations_of(config)
    assert [g.manifest.data["clusters"] for g in found] == [None, None]
    assert all(state_in(g.folder) is None for g in found)


def test_the_refresher_can_read_what_is_dumped(bench: RefreshBench) -> None:
    sections: list[dict[str, Any]] = [
        {"mode": "async"},
        {"mode": "async", "every_steps": 100, "trigger": {"easy_share": 0.9}},
    ]
    for refresh in sections:
        config = bench.config("read", refresh)
        assert parse_config(TrainConfig, yaml.safe_load(dump_config(config))) == config

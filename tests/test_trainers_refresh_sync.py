from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import quick
from refresh_setup import (
    RefreshBench,
    generations_of,
    home_of,
    log_of,
    negatives_in,
    numbers_in,
    same,
    swaps_of,
    watched,
)
from safetensors.torch import load_file
from torch.optim import AdamW

from pyrite.core.dataset import text_hashes
from pyrite.core.store import Manifest
from pyrite.trainers.adoption import Adoption
from pyrite.trainers.train import train_system

SYNC = {"mode": "sync"}
# the sampler's noise is seen in it
DRAWN = {"name": "softmax", "n": 3, "temperature": 0.1}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> RefreshBench:
    return RefreshBench.build(tmp_path_factory.mktemp("refresh"))


def texts_of(bench: RefreshBench, folder: Path) -> dict[int, list[int]]:
    """Text numbers of each query row's negatives, from the file."""
    dataset = bench.dataset()
    hashes = np.asarray(text_hashes(dataset.corpus, bench.folder / "cache"))
    _, text_of = np.unique(hashes, return_inverse=True)
    found = negatives_in(folder)
    queries = dataset.queries.ids.find(list(found)).tolist()
    return {
        row: text_of[dataset.corpus.ids.find(ids)].tolist()
        for row, ids in zip(queries, found.values(), strict=True)
    }


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_each_step_trains_on_the_generation_in_force(bench: RefreshBench, workers: int) -> None:
    config = bench.config(f"workers-{workers}", SYNC, train={"num_workers": workers})
    with watched() as seen:
        bench.train(config)
    ahead = 2 * workers + 2
    expected = [(at, 4 * at, 4 * at + ahead) for at in (1, 2) if 4 * at + ahead < len(seen)]
    assert swaps_of(config) == expected
    sources = {0: texts_of(bench, config.run_folder / "negatives")}
    for generation in generations_of(config):
        sources[generation.number] = texts_of(bench, generation.folder)
    assert sources[0] != sources[1]
    for step, batch in enumerate(seen):
        number = max([0, *(g for g, _, since in expected if since <= step)])
        for query, _, *negatives in batch:
            assert sorted(negatives) == sorted(sources[number][query])


def test_what_a_run_leaves_behind(bench: RefreshBench) -> None:
    config = bench.config("workers-0", SYNC)
    bench.train(config)
    home = home_of(config)
    assert home.read("CURRENT") == {"generation": 2, "step": 8}
    assert home.read("training.json")["state"] == "finished"
    assert list(home.weights.glob("*")) == []
    assert list((home.folder / "cache" / "embeddings").glob("*")) == []
    for at, generation in enumerate(generations_of(config), start=1):
        data = generation.manifest.data
        assert (data["kind"], data["generation"], data["step"]) == ("generation", at, 4 * at)
        assert (data["adopted"], data["reason"], data["kept_queries"]) == (True, "", 0)
        assert generation.manifest.intact(generation.folder)
        assert data["clusters"] is None
        assert set(numbers_in(generation.folder).values()) == {at}
    assert [row["step"] for row in log_of(config, "published")] == [4, 8]
    swaps = log_of(config, "swap")
    assert [(row["step"], row["generation"], row["age"]) for row in swaps] == [
        (6, 1, 2),
        (10, 2, 2),
    ]
    before = negatives_in(config.run_folder / "negatives")
    after = negatives_in(home.generations / "000001")
    shares = [len(set(after[q]) - set(before[q])) / len(after[q]) for q in after]
    assert swaps[0]["churn"] == pytest.approx(sum(shares) / len(shares), abs=1e-12)
    assert swaps[0]["churn"] > 0


def test_off_changes_nothing(bench: RefreshBench, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, Any] = {}

    def fit(
        model: Any,
        loss: Any,
        feed: Any,
        section: Any,
        folder: Path,
        key: str,
        *rest: Any,
        **options: Any,
    ) -> float:
        keys[folder.parents[1].name] = key, options["refresh"]
        return 0.0

    monkeypatch.setattr("pyrite.trainers.train.fit", fit)
    for name, refresh in (("none", {}), ("sync", SYNC), ("rare", {**SYNC, "every_steps": 7})):
        bench.train_only(bench.config(name, refresh))
    assert keys["none"][1] is None
    assert not (bench.folder / "runs" / "none" / "refresh").exists()
    assert len({key for key, _ in keys.values()}) == 3


def test_the_in_batch_training_gets_no_refresh(bench: RefreshBench) -> None:
    config = bench.config("in-batch", SYNC, train={"steps": 7})
    encoder, mined = bench.mined(config)
    train_system(config, "in_batch", mined, encoder.fingerprint)
    assert not home_of(config).folder.exists()


def test_unchanged_weights_give_the_same_negatives(bench: RefreshBench) -> None:
    # a step of this size is lost in the rounding of every weight
    config = bench.config("still", SYNC, train={"learning_rate": 1e-30}, sampler=DRAWN)
    bench.train(config)
    first = negatives_in(config.run_folder / "negatives")
    found = generations_of(config)
    assert [negatives_in(generation.folder) for generation in found] == [first, first]
    assert [row["churn"] for row in log_of(config, "swap")] == [0.0, 0.0]


@pytest.mark.slow
def test_a_refresh_in_half_precision_leaves_the_training_alone(bench: RefreshBench) -> None:
    rates = {"learning_rate": 1e-30}
    config = bench.config("half", {**SYNC, "dtype": "bfloat16"}, train=rates, sampler=DRAWN)
    bench.train(config)
    whole = bench.config("still-float32", SYNC, train=rates, sampler=DRAWN)
    bench.train(whole)
    keys = [{g.manifest.data["vectors"] for g in generations_of(one)} for one in (config, whole)]
    steps = [[g.step for g in generations_of(one)] for one in (config, whole)]
    assert steps[0] == steps[1]
    assert not keys[0] & keys[1]
    weights = load_file(config.run_folder / "models/mined/model/model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_a_chunk_is_mined_and_the_rest_is_kept(bench: RefreshBench) -> None:
    config = bench.config("chunk", {**SYNC, "chunk": 3, "every_steps": 3})
    bench.train(config)
    last = negatives_in(config.run_folder / "negatives")
    number_of = dict.fromkeys(last, 0)
    assert len(generations_of(config)) == 3
    for generation in generations_of(config):
        found, numbers = negatives_in(generation.folder), numbers_in(generation.folder)
        assert list(found) == sorted(last)
        mined = [q for at, q in enumerate(sorted(last)) if at % 3 == generation.number % 3]
        number_of.update(dict.fromkeys(mined, generation.number))
        assert numbers == number_of
        assert all(found[q] == last[q] for q in found if q not in mined)
        assert any(found[q] != last[q] for q in mined)
        assert generation.manifest.data["kept_queries"] == len(last) - len(mined)
        churn = [len(set(found[q]) - set(last[q])) / len(found[q]) for q in mined]
        assert generation.measured("churn")["value"] == pytest.approx(np.mean(churn), abs=1e-12)
        last = found


@pytest.mark.parametrize(
    ("refresh", "save_every", "after"),
    [
        # a checkpoint of the step after which the first swap is decided, before it is in force
        pytest.param({}, 4, 5, marks=pytest.mark.slow),
        # between making generation 2 and the checkpoint of step 10
        pytest.param({"chunk": 2, "rewarm": True}, 5, 9, marks=pytest.mark.slow),
        # before the first checkpoint
        pytest.param({}, 5, 4, marks=pytest.mark.slow),
    ],
    ids=["in force later", "chunk, rewarm", "no checkpoint"],
)
def test_a_killed_training_repeats_its_swaps(
    bench: RefreshBench, refresh: dict[str, Any], save_every: int, after: int
) -> None:
    saved = {"save_every": save_every}
    name = "-".join(map(str, [*refresh, after]))
    whole = bench.config(f"whole-{name}", {**SYNC, **refresh}, train=saved)
    killed = bench.config(f"killed-{name}", {**SYNC, **refresh}, train=saved)
    expected = bench.train(whole)
    bench.killed(killed, after)
    with watched() as seen:
        assert same(bench.train(killed), expected)
    assert len(seen) == 14 - after // save_every * save_every
    assert swaps_of(killed) == swaps_of(whole)
    for kind in ("published", "generation", "swap"):
        assert log_of(killed, kind) == log_of(whole, kind)
    pairs = zip(generations_of(killed), generations_of(whole), strict=True)
    assert all(negatives_in(a.folder) == negatives_in(b.folder) for a, b in pairs)
    manifests = [Manifest.read(c.run_folder / "models" / "mined") for c in (killed, whole)]
    losses = [manifest.data["training_loss"] for manifest in manifests if manifest is not None]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_the_learning_rate_is_warmed_up_again(
    bench: RefreshBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = AdamW.step

    def record(optimizer: AdamW, *args: Any, **kwargs: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(AdamW, "step", record)
    section = {"warmup": 3, "schedule": "constant_with_warmup"}
    bench.train(bench.config("warm", {**SYNC, "rewarm": True}, train=section))
    shares = [0, 1 / 3, 2 / 3, 1, 1, 1, 1 / 3, 2 / 3, 1, 1, 1 / 3, 2 / 3, 1, 1]
    assert rates == pytest.approx([1e-3 * share for share in shares], rel=1e-9)


@pytest.mark.slow
def test_old_generations_and_weights_go(bench: RefreshBench) -> None:
    counts: list[tuple[int, int, int]] = []
    config = bench.config("bounded", {**SYNC, "every_steps": 2, "keep": 0}, train={"steps": 40})
    home = home_of(config)
    with pytest.MonkeyPatch.context() as patch:
        remove = Adoption.remove

        def record(adoption: Adoption, *args: Any) -> None:
            remove(adoption, *args)
            pools = len(list((config.run_folder / "feed").glob("generation-*")))
            there = len(list(home.generations.glob("*"))), len(list(home.weights.glob("*")))
            counts.append((*there, pools - 1))

        patch.setattr(Adoption, "remove", record)
        bench.train(config)
    assert len(counts) > 18
    # two in use, what checkpoints of ten steps may repeat, and one
    assert max(generations for generations, _, _ in counts) <= 9
    assert max(weights for _, weights, _ in counts) <= 2
    assert all(generations == pools for generations, _, pools in counts)


@pytest.mark.slow
def test_another_training_begins_anew(bench: RefreshBench) -> None:
    first = bench.config("twice", SYNC, train={"steps": 8})
    bench.train(first)
    old = Manifest.read(home_of(first).generations / "000001")
    bench.train(bench.config("twice", SYNC, train={"steps": 8, "learning_rate": 2e-3}))
    new = Manifest.read(home_of(first).generations / "000001")
    assert old is not None
    assert new is not None
    assert old.data["training"] != new.data["training"]
    assert [row["step"] for row in log_of(first, "published")] == [4]


def test_a_partial_refresh_starts_from_the_vectors_of_the_last(bench: RefreshBench) -> None:
    partial = {"kind": "map", "share": 0.5, "landmarks": 0, "depth": 20}
    config = bench.config("partial", {**SYNC, "partial": partial})
    bench.train(config)
    found = generations_of(config)
    assert [generation.number for generation in found] == [1, 2]
    for generation in found:
        report = generation.manifest.data["partial"]
        assert (report["kind"], report["documents"], report["encoded"]) == ("map", 120, 60)
        assert 0.5 < report["overlap"] <= 1
        assert 0 < report["error"] < report["stale_error"]

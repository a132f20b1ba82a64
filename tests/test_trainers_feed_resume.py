from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from feed_setup import FeedBench, Weights
from quick import quick
from tiny_model import tiny_model
from torch import Tensor

from pyrite.core.sbert import EncoderConfig, load_model
from pyrite.trainers.feed import own_scores
from pyrite.trainers.fit import fit
from pyrite.trainers.logits import Sides
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.masks import BatchIds, Known
from pyrite.trainers.step import Step
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import as_dataset

REPLACE: dict[str, Any] = {"draw": "replace", "replace": {"every": 2, "ratio": 0.5, "ceiling": 2.0}}


class KilledError(Exception):
    """Stands for a kill in the middle of training."""


@dataclass(frozen=True)
class Seen:
    """Labels of every step's batch, as they reach the loss."""

    ids: list[list[list[int]]]
    numbers: list[list[list[int]]]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> FeedBench:
    folder = tmp_path_factory.mktemp("bench")
    return FeedBench.build(folder).with_model(tiny_model(folder / "tiny", dropout=0.1))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen([], [])
    forward = ContrastiveLoss.forward

    def record(self: ContrastiveLoss, features: Any, labels: dict[str, Tensor]) -> Tensor:
        found.ids.append(labels["ids"].tolist())
        found.numbers.append(labels["numbers"].tolist())
        return forward(self, features, labels)

    monkeypatch.setattr(ContrastiveLoss, "forward", record)
    return found


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def kill_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    calls = 0
    forward = ContrastiveLoss.forward

    def die(self: ContrastiveLoss, features: Any, labels: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > steps:
            raise KilledError
        return forward(self, features, labels)

    patch.setattr(ContrastiveLoss, "forward", die)


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("options", "at", "redone"),
    [
        # in the second epoch, after the checkpoint of step 4
        ({}, 5, 2),
        slow({"draw": "sample", "positives": "one", "batch_size": 8}, 5, 2),
        slow({"batches": "ngame", "ngame": {"double_at": [1]}}, 5, 2),
        slow(REPLACE, 5, 2),
        ({"mini_batch_size": 5, **REPLACE}, 5, 2),
        # seven batches are four steps, the last of one batch; killed in the fourth
        slow({"gradient_accumulation": 2, "batch_size": 8, "num_workers": 1}, 6, 7),
    ],
    ids=["rotate", "sample", "ngame", "replace", "replace, cached", "accumulated, with a worker"],
)
def test_a_killed_training_ends_with_the_same_bytes(
    bench: FeedBench,
    tmp_path: Path,
    seen: Seen,
    options: dict[str, Any],
    at: int,
    redone: int,
) -> None:
    whole = bench.train(tmp_path / "whole", **options)
    ids, numbers = list(seen.ids), list(seen.numbers)
    replaced = any(turn for batch in numbers[-redone:] for _, turn in batch)
    assert replaced == ("replace" in options)
    with pytest.MonkeyPatch.context() as patch:
        kill_after(at, patch)
        with pytest.raises(KilledError):
            bench.train(tmp_path / "killed", **options)
    seen.ids.clear()
    seen.numbers.clear()
    assert same(bench.train(tmp_path / "killed", **options), whole)
    assert (seen.ids, seen.numbers) == (ids[-redone:], numbers[-redone:])


def test_negatives_are_replaced_on_their_way(bench: FeedBench, tmp_path: Path, seen: Seen) -> None:
    bench.train(tmp_path / "replaced", steps=12, learning_rate=3e-3, **REPLACE)
    turns = [{row: turn for row, turn in batch} for batch in seen.numbers]
    # decided after two steps, in force two steps later
    assert not any(any(batch.values()) for batch in turns[:4])
    assert any(any(batch.values()) for batch in turns[4:])
    for numbers, ids in zip(seen.numbers, seen.ids, strict=True):
        for (row, turn), (query, _, *negatives) in zip(numbers, ids, strict=True):
            pool = bench.pool_of(int(bench.pairs.queries[row]))
            start = (turn - 1) * 2 + 10 if turn else 0
            wanted = bench.pairs.text_of_N[pool[start : start + 2]].tolist()
            assert negatives == wanted + [-1] * (2 - len(wanted))
            assert query == bench.pairs.queries[row]


def test_workers_do_not_change_what_is_replaced(
    bench: FeedBench, tmp_path: Path, seen: Seen
) -> None:
    options: dict[str, Any] = {"steps": 18, "learning_rate": 3e-3, "draw": "replace"}
    options["replace"] = {"every": 6, "ratio": 0.5, "ceiling": 2.0}
    alone = bench.train(tmp_path / "alone", **options)
    numbers = list(seen.numbers)
    assert any(turn for batch in numbers for _, turn in batch)
    seen.numbers.clear()
    assert same(bench.train(tmp_path / "two", num_workers=2, **options), alone)
    assert seen.numbers == numbers


def test_static_draws_train_as_static_columns_do(bench: FeedBench, tmp_path: Path) -> None:
    fed = bench.train(tmp_path / "fed", draw="static", batch_size=15, steps=4)
    feed = bench.feed(draw="static", batch_size=15)
    order = [row for batch in feed.batches for row in batch]
    places = feed.drawer.rows.places.array
    pairs = bench.pairs
    rows = replace(
        pairs,
        queries=pairs.queries[order],
        positives=pairs.positives[order],
        negatives=bench.mined.ids[places[order], :2],
    )
    columns = as_dataset(rows, bench.dataset)
    config = TrainSection(steps=4, batch_size=15, learning_rate=1e-3)
    model = load_model(EncoderConfig(model=str(bench.model), max_length=32))
    known = Known(torch.from_numpy(pairs.known), pairs.span)
    loss = ContrastiveLoss(model, config.loss, known=known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.utils.data.RandomSampler.__iter__", lambda self: iter(range(60)))
        patch.setattr(
            "accelerate.data_loader.SeedableRandomSampler.__iter__", lambda self: iter(range(60))
        )
        fit(model, loss, columns, config, tmp_path / "columns", "key", 0, {})
    assert same(dict(model.state_dict()), fed)


def test_a_row_s_score_is_the_mean_cosine_of_its_own_negatives() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, docs = torch.randn(3, 4, generator=generator), torch.randn(9, 4, generator=generator)
    ids = torch.tensor([[0, 5, 6, 7], [1, 8, 9, -1], [2, 3, -1, -1]])
    numbers = torch.tensor([[11, 0], [12, 1], [13, 2]])
    step = Step(BatchIds.of(ids), torch.arange(3), numbers_B2=numbers)
    found, scores = own_scores(step, Sides(queries, docs))
    wanted = [
        (queries[0] @ docs[3] + queries[0] @ docs[6]).item() / 2,
        (queries[1] @ docs[4]).item(),
    ]
    assert found.tolist() == numbers.tolist()
    assert scores[:2] == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(scores[2])

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import quick
from tiny_model import HIDDEN
from torch import Tensor
from training_bench import (
    Bench,
    Weights,
    make_bench,
)

from pyrite.core.sbert import load_model
from pyrite.trainers.distil_base import divergence_from
from pyrite.trainers.interpolate import interpolate
from pyrite.trainers.logits import Sides
from pyrite.trainers.masks import BatchIds
from pyrite.trainers.step import Step


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def plain(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return bench.train(tmp_path_factory.mktemp("plain"))


def test_weights_are_interpolated_in_float32() -> None:
    model = torch.nn.Linear(2, 1, dtype=torch.bfloat16)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
    base = {"weight": torch.tensor([[3.0, 10.0]]), "bias": torch.zeros(1)}
    interpolate(model, base, 0.25)
    assert model.weight.tolist() == [[1.5, 4.0]]


def test_the_base_weight_is_the_share_of_the_base(
    bench: Bench, plain: Weights, tmp_path: Path
) -> None:
    base, found = bench.untrained(), bench.train(tmp_path, base_weight=0.25)
    for name, values in plain.items():
        wanted = 0.75 * values + 0.25 * base[name] if values.is_floating_point() else values
        assert torch.allclose(found[name], wanted, atol=1e-7)


def test_distillation_keeps_the_model_near_the_base(
    bench: Bench, plain: Weights, tmp_path: Path
) -> None:
    base, near = bench.untrained(), bench.train(tmp_path, distil_base=50.0)

    def vectors(weights: Weights) -> Tensor:
        model = load_model(bench.run.encoder)
        model.load_state_dict(weights)
        found = model.encode([f"w{i} w{i + 1}" for i in range(20)], convert_to_tensor=True)
        unit = torch.nn.functional.normalize(found, dim=-1)
        return unit @ unit.T

    origin = vectors(base)
    assert (vectors(near) - origin).norm() < 0.7 * (vectors(plain) - origin).norm()


def brute_divergence(base: Tensor, model: Tensor, docs: list[int], rows: int, t: float) -> float:
    """KL(base || model) with loops: rows 0.. of each are queries, the rest documents."""
    total = 0.0
    for row in range(rows):
        logs: list[list[float]] = []
        for vectors in (base, model):
            scores = []
            for at, number in enumerate(docs):
                if number >= 0 and number not in docs[:at]:
                    query, doc = vectors[row].tolist(), vectors[rows + at].tolist()
                    dot = sum(x * y for x, y in zip(query, doc, strict=True))
                    scores.append(dot / math.hypot(*query) / math.hypot(*doc) / t)
            whole = math.log(sum(math.exp(score) for score in scores))
            logs.append([score - whole for score in scores])
        total += sum(math.exp(b) * (b - m) for b, m in zip(*logs, strict=True))
    return total / rows


@given(
    docs=st.lists(st.integers(-1, 3), min_size=6, max_size=6).filter(lambda d: max(d) >= 0),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=30)
def test_the_divergence_is_the_loops(docs: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    base, model = torch.randn(2, 9, 4, generator=generator).unbind()
    ids = BatchIds(torch.arange(3), torch.tensor(docs))
    step = Step(ids, torch.arange(3))
    base_sides, sides = (Sides(vectors[:3], vectors[3:]) for vectors in (base, model))
    found = divergence_from(base_sides, sides, step, 0.5)
    assert found.item() == pytest.approx(brute_divergence(base, model, docs, 3, 0.5), abs=1e-5)
    assert found.item() >= -1e-6
    assert divergence_from(sides, sides, step, 0.5).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("dims", [(), (HIDDEN, 8)], ids=str)
def test_a_cached_distilled_step_is_the_whole_one(
    bench: Bench, tmp_path: Path, dims: tuple[int, ...]
) -> None:
    options: dict[str, Any] = {"distil_base": 2.0, "steps": 2, "dropout": 0.0}
    whole = bench.train(tmp_path / "whole", matryoshka_dims=dims, **options)
    cached = bench.train(tmp_path / "cached", matryoshka_dims=dims, mini_batch_size=5, **options)
    for name, values in whole.items():
        assert torch.allclose(cached[name].float(), values.float(), atol=1e-4), name

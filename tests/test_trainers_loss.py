"""The loss module's value and gradient against the formulas, for every loss and direction."""

from __future__ import annotations

import logging
import math
import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import (
    DIMENSION,
    QUERIES,
    TEXTS,
    Lookup,
    LossBatch,
    loss_of,
    make,
    random_batch,
    table_gradient,
)
from loss_configs import ALL, SINGLE, SOFTMAX, WAYS, named
from loss_oracle import Oracle
from torch import Tensor

from pyrite.core.errors import PyriteError
from pyrite.trainers import loss as module
from pyrite.trainers.estimators.noise import noise_negatives
from pyrite.trainers.loss_config import PARAMETERS, LossSection
from pyrite.trainers.masks import MISSING


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def assert_as_written_down(
    config: LossSection, batch: LossBatch, seed: int, **options: Any
) -> None:
    model = Lookup(seed=seed)
    table = model.table.detach().double().requires_grad_()
    found, wanted = loss_of(model, batch, config, **options), Oracle(table, batch, config).value()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(wanted.item(), rel=2e-4, abs=2e-5)
    # an oracle without negatives never reads the table
    torch.autograd.backward(wanted + 0 * table.sum())
    assert table.grad is not None
    scale = max(table.grad.abs().max().item(), 1.0)
    assert torch.allclose(table_gradient(model, found).double(), table.grad, atol=2e-4 * scale)


@pytest.mark.parametrize("config", ALL, ids=named)
@pytest.mark.parametrize("cached", [None, 2])
def test_value_and_gradient_are_those_of_the_formulas(
    config: dict[str, Any], cached: int | None
) -> None:
    section = LossSection(**config)
    for seed in range(6):
        # a floor of 0 masks what the miner is sure of
        floored = section.model_copy(update={"weight_floor": 0.1 * (seed % 2)})
        assert_as_written_down(floored, random_batch(seed), seed, mini_batch_size=cached)


def test_every_loss_is_among_them() -> None:
    assert {config["name"] for config in ALL} == set(PARAMETERS)


@pytest.mark.parametrize("config", [*SOFTMAX, *SINGLE], ids=named)
def test_the_order_of_the_batch_changes_nothing(config: dict[str, Any]) -> None:
    way: dict[str, Any] = WAYS[4] if config in SOFTMAX else {}
    section = LossSection(**{**config, **way})
    for seed in range(4):
        batch = random_batch(seed, rows=6, negatives=2)
        shuffled = batch.reordered(random.Random(seed).sample(range(6), 6))
        losses, gradients = [], []
        for each in (batch, shuffled):
            model = Lookup()
            loss = loss_of(model, each, section)
            losses.append(loss.item())
            gradients.append(table_gradient(model, loss))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)
        assert torch.allclose(gradients[0], gradients[1], atol=1e-4)


NEUTRAL: list[dict[str, Any]] = [
    {"name": "hardness", "alpha": 0.0},
    {"name": "debiased", "tau_plus": 0.0},
    {"name": "hcl", "beta": 0.0, "tau_plus": 0.0},
    {"name": "dclr", "phi": 1.0, "noise": 0.0},
    {"name": "soft_info_nce", "alpha": 0.0},
    {"name": "gist", "margin": -3.0},
    {"name": "cluster_ns", "weight": 0.0},
]


@pytest.mark.parametrize("config", NEUTRAL, ids=named)
def test_neutral_parameters_leave_info_nce(config: dict[str, Any]) -> None:
    batch, model = random_batch(3, rows=5, negatives=2), Lookup()
    plain = loss_of(model, batch, LossSection(**WAYS[2]))
    found = loss_of(model, batch, LossSection(**{**config, **WAYS[2]}))
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)
    wanted = table_gradient(model, plain).clone()
    assert torch.allclose(table_gradient(model, found), wanted, rtol=1e-4, atol=1e-5)


TWO = LossBatch([[0, 1, 2], [1, 3, MISSING]], {(0, 1), (1, 3)}, [[0.0], [0.0]], [[3.0, 1.0]] * 2)


@pytest.mark.parametrize("config", [*SOFTMAX, *SINGLE], ids=named)
@pytest.mark.parametrize("cached", [None, 1])
def test_a_missing_negative_pulls_at_no_vector(config: dict[str, Any], cached: int | None) -> None:
    model = Lookup()
    loss = loss_of(model, TWO, LossSection(**config), mini_batch_size=cached)
    touched = table_gradient(model, loss).abs().sum(dim=1) > 0
    assert not touched[TEXTS - 1]
    assert set(torch.nonzero(touched).flatten().tolist()) <= {1, 2, 3, TEXTS, TEXTS + 1}


def test_a_doubt_weighs_a_negative_in_its_own_row_only() -> None:
    rows = [[0, 1, 5], [1, 2, 6]]
    section = LossSection(temperature=1.0)
    model = Lookup()

    def loss(doubt: list[list[float]], floor: float = 0.1) -> Tensor:
        config = section.model_copy(update={"weight_floor": floor})
        return loss_of(model, LossBatch(rows, doubt=doubt), config)

    unit = torch.nn.functional.normalize(model.table.detach().double(), dim=1)

    def row(query: int, own: int, others: dict[int, float]) -> float:
        logits = unit @ unit[TEXTS + query]
        mass = sum(w * math.exp(float(logits[t])) for t, w in others.items())
        return math.log1p(mass / math.exp(float(logits[own])))

    plain = row(1, 2, {1: 1, 5: 1, 6: 1})
    for doubt, weight in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.1)):
        wanted = (row(0, 1, {2: 1, 5: weight, 6: 1}) + plain) / 2
        assert loss([[doubt], [0.0]]).item() == pytest.approx(wanted, rel=1e-5)
    wanted = (row(0, 1, {2: 1, 6: 1}) + plain) / 2
    assert loss([[1.0], [0.0]], floor=0.0).item() == pytest.approx(wanted, rel=1e-5)


def test_a_doubt_follows_its_text_into_another_column() -> None:
    # text 2 stands first as the positive of row 1, and that is the column that counts
    section = LossSection(weight_floor=0.0)
    model = Lookup()
    sure = LossBatch([[0, 1, 2], [1, 2, 6]], doubt=[[1.0], [0.0]])
    without = LossBatch([[0, 1, 2], [1, 2, 6]], {(0, 2)}, doubt=[[0.0], [0.0]])
    assert loss_of(model, sure, section).item() == loss_of(model, without, section).item()


@pytest.mark.parametrize("name", ["cosent", "lambda_rank", "kl", "nn_pu"])
def test_a_loss_without_weights_still_drops_what_the_miner_is_sure_of(name: str) -> None:
    model, section = Lookup(), LossSection(name=name, weight_floor=0.0, temperature=1.0)
    teacher = [[3.0, 1.0, 0.0]] * 2

    def loss(rows: list[list[int]], doubt: float) -> float:
        doubts = [[0.0, doubt], [0.0, 0.0]]
        return loss_of(model, LossBatch(rows, doubt=doubts, teacher=teacher), section).item()

    rows = [[0, 1, 5, 6], [1, 2, 7, 8]]
    if name != "nn_pu":
        gone = [[0, 1, 5, MISSING], [1, 2, 7, 8]]
        assert loss(rows, 1.0) == pytest.approx(loss(gone, 0.0), rel=1e-6)
    assert loss(rows, 1.0) != pytest.approx(loss(rows, 0.0), rel=1e-4)


def test_a_teacher_s_missing_score_leaves_the_pair_out() -> None:
    nan = math.nan
    rows, model = [[0, 1, 5, 6], [1, 2, 7, 8]], Lookup()
    for name in ("margin_mse", "kl"):
        section = LossSection(name=name)
        spoilt = LossBatch(rows, teacher=[[3.0, nan, 1.0], [nan, 2.0, 1.0]])
        wanted = LossBatch([[0, 1, 6]], teacher=[[3.0, 1.0]])
        loss = loss_of(model, spoilt, section)
        assert loss.item() == pytest.approx(loss_of(model, wanted, section).item(), rel=1e-5)
        assert torch.isfinite(table_gradient(model, loss)).all()
        nothing = loss_of(model, LossBatch(rows, teacher=[[nan] * 3] * 2), section)
        assert nothing.item() == 0.0


def test_bfloat16_vectors_are_compared_in_float32() -> None:
    batch = random_batch(3, rows=5, negatives=2)
    model = Lookup(torch.bfloat16)
    found = loss_of(model, batch, LossSection())
    assert found.dtype == torch.float32
    wanted = Oracle(model.table.detach().double(), batch, LossSection()).value()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert table_gradient(model, found).dtype == torch.bfloat16


@pytest.mark.parametrize("config", [*SOFTMAX, *SINGLE], ids=named)
@pytest.mark.parametrize("cached", [None, 2])
def test_autocast_does_not_coarsen_the_loss(config: dict[str, Any], cached: int | None) -> None:
    batch, section = random_batch(3, rows=5, negatives=2), LossSection(**config)
    plain = loss_of(Lookup(), batch, section, mini_batch_size=cached).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss_of(Lookup(), batch, section, mini_batch_size=cached).item() == plain


def test_dclr_noise_follows_from_the_seed_and_the_batch_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Tensor] = []

    def record(*args: Any, **kwargs: Any) -> Tensor:
        drawn.append(noise_negatives(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(module, "noise_negatives", record)
    section = LossSection(name="dclr", phi=1.0, noise=1.5, temperature=0.5)
    batch, model = random_batch(3, rows=4, negatives=1), Lookup()
    first = loss_of(model, batch, section).item()
    torch.randn(3)  # the global generator decides nothing
    assert loss_of(model, batch, section).item() == first
    assert loss_of(model, batch, section, mini_batch_size=2).item() == pytest.approx(
        first, rel=1e-5
    )
    assert all(torch.equal(drawn[0], other) for other in drawn[1:])
    assert drawn[0].shape == (6, DIMENSION)
    assert loss_of(model, batch, section, seed=1).item() != first
    other = LossBatch([[q % (QUERIES - 1) + 1, *docs] for q, *docs in batch.rows], batch.known)
    loss_of(model, other, section)
    assert not torch.equal(drawn[0], drawn[-1])


def test_dclr_noise_stands_in_the_denominator(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = 3.0 * torch.randn(2, DIMENSION, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(module, "noise_negatives", lambda *args, **kwargs: noise)
    config: dict[str, Any] = {"name": "dclr", "phi": 1.0, "temperature": 0.5}
    model, batch = Lookup(), LossBatch([[0, 1, 2]])
    plain = loss_of(model, batch, LossSection(**config, noise=0.0)).item()
    unit = torch.nn.functional.normalize(torch.cat((model.table.detach(), noise)), dim=1).double()
    pos, *extra = (math.exp(float(unit[TEXTS] @ unit[at]) / 0.5) for at in (1, -2, -1))
    wanted = math.log(math.exp(plain) + sum(extra) / pos)
    assert loss_of(model, batch, LossSection(**config, noise=2.0)).item() == pytest.approx(wanted)
    with torch.no_grad():
        assert loss_of(model, batch, LossSection(**config, noise=2.0)).item() == plain


def debiased_loss(temperature: float, tau_plus: float, caplog: pytest.LogCaptureFixture) -> float:
    """Thirty steps of a debiased loss; the share of rows at the floor."""
    section = LossSection(name="debiased", temperature=temperature, tau_plus=tau_plus)
    model = Lookup()
    with torch.no_grad():
        # positives lie near their queries, as after training
        model.table[:QUERIES] = model.table[TEXTS:] + 0.1 * model.table[:QUERIES]
    batch = LossBatch([[at, at] for at in range(QUERIES)])
    loss = make(model, section, batch.known)
    with caplog.at_level(logging.WARNING, logger="pyrite"):
        for _ in range(30):
            loss(batch.features(), batch.labels()).backward()
    return loss.clamped_rows / loss.rows


def test_a_floor_that_holds_is_reported_once_with_its_share(
    caplog: pytest.LogCaptureFixture,
) -> None:
    share = debiased_loss(0.05, 0.2, caplog)
    assert share > 0.5
    assert len(caplog.messages) == 1
    assert f"held in {100 * share:.0f}% of 50 rows" in caplog.messages[0]
    assert "train.loss.tau_plus (0.2)" in caplog.messages[0]


def test_a_floor_that_does_not_hold_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert debiased_loss(0.5, 0.001, caplog) == 0.0
    assert caplog.messages == []


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 1.0]))
def test_info_nce_of_any_batch(seed: int, temperature: float) -> None:
    section = LossSection(temperature=temperature, directions=("q2d", "d2q", "q2q", "d2d"))
    batch = random_batch(seed)
    model = Lookup(seed=seed % 1000)
    wanted = Oracle(model.table.detach().double(), batch, section).value()
    assert loss_of(model, batch, section).item() == pytest.approx(wanted.item(), rel=2e-4, abs=2e-5)


def test_a_teacher_is_asked_for() -> None:
    with pytest.raises(PyriteError, match=r"name=kl needs a teacher's scores"):
        loss_of(Lookup(), LossBatch([[0, 1, 2]]), LossSection(name="kl"))

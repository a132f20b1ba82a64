"""InfoNCE, debiased and HCL: estimates of the negatives' mass."""

from __future__ import annotations

import math

import pytest
import torch
from estimator_cases import Batch, Rows, assert_rows, one_row, random_batch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from pyrite.core.errors import PyriteError
from pyrite.trainers.estimators.debiased import Floored, debiased
from pyrite.trainers.estimators.hcl import hcl
from pyrite.trainers.estimators.info_nce import info_nce
from pyrite.trainers.estimators.soft_weights import hardness_log_weight

SEEDS = st.integers(0, 2**32 - 1)
TAUS = st.sampled_from([0.0, 0.001, 0.1, 0.4])


def over(batch: Batch, temperature: float) -> Batch:
    return batch._replace(pos_B=batch.pos_B / temperature, neg_BN=batch.neg_BN / temperature)


COSINES = over(one_row(0.8, [0.6, 0.2, 0.0]), 0.5)


def mass_oracle(
    pos: Tensor,
    draws: list[tuple[Tensor, float]],
    others: list[tuple[Tensor, float]],
    tau_plus: float,
    temperature: float,
    beta: float = 0.0,
    detach: bool = False,
) -> tuple[Tensor, bool]:
    """-log of the positive's share, in the formula's own words; and whether the clamp holds."""
    nothing = 0 * pos
    number = sum(w for _, w in draws)
    total: Tensor = nothing
    clamped = False
    if draws:
        hard = [(beta * (x.detach() if detach else x)).exp() for x, _ in draws]
        mean = sum(h * w for h, (_, w) in zip(hard, draws, strict=True)) / number
        shares = (h * w * x.exp() for h, (x, w) in zip(hard, draws, strict=True))
        total = sum(shares, nothing) / mean
        if tau_plus > 0:
            raw = (total - tau_plus * number * pos.exp()) / (1 - tau_plus)
            least = number * math.exp(-1 / temperature)
            clamped = raw.item() < least
            total = nothing + least if clamped else raw
    total = total + sum((w * x.exp() for x, w in others), nothing)
    return -torch.log(pos.exp() / (pos.exp() + total)), clamped


def info_nce_oracle(pos: Tensor, neg: list[Tensor], weights: list[float]) -> Tensor:
    return mass_oracle(pos, [], list(zip(neg, weights, strict=True)), 0.0, 1.0)[0]


@pytest.mark.parametrize(
    ("pos", "neg", "temperature", "wanted"),
    [(2, [1, 0], 1.0, 0.407606), (0.8, [0.6, 0.2], 0.05, 0.018156), (2, [], 1.0, 0.0)],
)
def test_info_nce_known_values(
    pos: float, neg: list[float], temperature: float, wanted: float
) -> None:
    found = info_nce(*over(one_row(pos, neg), temperature))
    assert found.item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("alpha", "wanted"), [(0, 0.018156), (5, 0.313274), (9, 1.620425)])
def test_hardness_weights_known_values(alpha: float, wanted: float) -> None:
    cosines = one_row(0.8, [0.6, 0.2])
    batch = over(cosines, 0.05)
    weight = hardness_log_weight(cosines.neg_BN, alpha)
    found = info_nce(batch.pos_B, batch.neg_BN, weight, batch.mask_BN)
    assert found.item() == pytest.approx(wanted, abs=2e-6)


def test_two_directions_share_a_denominator() -> None:
    both = torch.ones(2, 2, dtype=torch.bool)
    negatives = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    found = info_nce(torch.tensor([2.0, 2.0]), negatives, None, both)
    assert found.tolist() == pytest.approx([0.407606, 0.407606], abs=1e-6)


def test_a_small_loss_is_not_rounded_to_nothing() -> None:
    assert info_nce(*one_row(20.0, [-4.0])).item() == pytest.approx(math.exp(-24), rel=1e-5)


@given(SEEDS, st.sampled_from([1.0, 5.0, 20.0]), st.booleans())
def test_info_nce_is_the_definition(seed: int, scale: float, weighted: bool) -> None:
    assert_rows(info_nce, info_nce_oracle, random_batch(seed, scale=scale, weighted=weighted))


@given(SEEDS)
def test_info_nce_is_a_cross_entropy_over_columns(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(5, 8, generator=generator)
    allowed = torch.rand(5, 8, generator=generator) < 0.7
    target = torch.arange(5)
    own = torch.nn.functional.one_hot(target, 8).bool()
    found = info_nce(logits[own], logits, None, allowed & ~own).mean()
    wanted = cross_entropy(logits.masked_fill(~(allowed | own), -math.inf), target)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("tau_plus", "wanted"), [(0.0, 0.776298), (0.1, 0.678265)])
def test_debiased_known_values(tau_plus: float, wanted: float) -> None:
    found = debiased(*COSINES, tau_plus=tau_plus, temperature=0.5)
    assert found.loss_B.item() == pytest.approx(wanted, abs=1e-6)
    assert not found.clamped_B.item()


def test_debiased_at_its_floor_has_no_gradient_at_the_negatives() -> None:
    batch = over(one_row(0.9, [-0.9] * 3), 0.5)
    batch.neg_BN.requires_grad_()
    found = debiased(*batch, tau_plus=0.1, temperature=0.5)
    assert found.loss_B.item() == pytest.approx(0.064956, abs=1e-6)
    assert found.clamped_B.item()
    assert (torch.autograd.grad(found.loss_B.sum(), batch.neg_BN)[0] == 0).all()


@pytest.mark.parametrize(("tau_plus", "wanted"), [(0.1, 0.840094), (0.0, 0.910243)])
def test_hcl_known_values(tau_plus: float, wanted: float) -> None:
    found = hcl(*COSINES, beta=1.0, tau_plus=tau_plus, temperature=0.5)
    assert found.loss_B.item() == pytest.approx(wanted, abs=1e-6)


@given(SEEDS, TAUS, st.sampled_from([0.05, 0.2, 1.0]), st.booleans())
def test_debiased_is_the_definition(
    seed: int, tau_plus: float, temperature: float, weighted: bool
) -> None:
    batch = random_batch(seed, scale=1 / temperature, weighted=weighted)

    def row(pos: Tensor, neg: list[Tensor], weights: list[float]) -> Tensor:
        draws = list(zip(neg, weights, strict=True))
        return mass_oracle(pos, draws, [], tau_plus, temperature)[0]

    def found(*args: Tensor | None) -> Tensor:
        return debiased(*args, tau_plus=tau_plus, temperature=temperature).loss_B  # type: ignore[arg-type]

    assert_rows(found, row, batch)


@given(SEEDS, TAUS, st.sampled_from([0.0, 0.5, 2.0]), st.booleans(), st.booleans())
def test_hcl_is_the_definition(
    seed: int, tau_plus: float, beta: float, detach: bool, weighted: bool
) -> None:
    batch = random_batch(seed, scale=2.0, weighted=weighted)

    def row(pos: Tensor, neg: list[Tensor], weights: list[float]) -> Tensor:
        draws = list(zip(neg, weights, strict=True))
        return mass_oracle(pos, draws, [], tau_plus, 0.5, beta, detach)[0]

    def found(*args: Tensor | None) -> Tensor:
        return hcl(
            *args,  # type: ignore[arg-type]
            beta=beta,
            tau_plus=tau_plus,
            temperature=0.5,
            detach_weights=detach,
        ).loss_B

    assert_rows(found, row, batch)


@given(SEEDS, TAUS, st.sampled_from([0.0, 1.0]))
def test_only_draws_from_the_marginal_are_debiased(seed: int, tau_plus: float, beta: float) -> None:
    batch = random_batch(seed, scale=2.0, weighted=False)
    marginal = torch.zeros(4, 6, dtype=torch.bool)
    marginal[:, :4] = True
    marginal[1] = False
    found = hcl(*batch, beta=beta, tau_plus=tau_plus, temperature=0.5, marginal_BN=marginal)
    for row in range(4):
        sides: tuple[list[tuple[Tensor, float]], list[tuple[Tensor, float]]] = ([], [])
        for column in range(6):
            if batch.mask_BN[row, column]:
                entry = (batch.neg_BN[row, column].double(), 1.0)
                sides[0 if marginal[row, column] else 1].append(entry)
        wanted, clamped = mass_oracle(batch.pos_B[row].double(), *sides, tau_plus, 0.5, beta)
        assert found.loss_B[row].item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-5)
        assert bool(found.clamped_B[row]) == clamped


@given(SEEDS, st.booleans())
def test_all_draws_is_the_same_as_none_named(seed: int, weighted: bool) -> None:
    batch = random_batch(seed, scale=2.0, weighted=weighted)
    named = torch.ones_like(batch.mask_BN)
    one = debiased(*batch, tau_plus=0.1, temperature=0.5)
    two = debiased(*batch, tau_plus=0.1, temperature=0.5, marginal_BN=named)
    assert one.loss_B.tolist() == pytest.approx(two.loss_B.tolist(), rel=1e-6)
    assert one.clamped_B.tolist() == two.clamped_B.tolist()


def neutral(estimate: Floored) -> Tensor:
    assert not estimate.clamped_B.any()
    return estimate.loss_B


@pytest.mark.parametrize(
    "estimate",
    [
        lambda *a: neutral(debiased(*a, tau_plus=0.0, temperature=0.05)),
        lambda *a: neutral(hcl(*a, beta=0.0, tau_plus=0.0, temperature=0.05)),
    ],
)
@given(seed=SEEDS, scale=st.sampled_from([1.0, 20.0, 1e4]))
def test_neutral_parameters_are_info_nce(estimate: Rows, seed: int, scale: float) -> None:
    batch = random_batch(seed, scale=scale)
    wanted = info_nce(*batch).tolist()
    assert estimate(*batch).tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@given(SEEDS, TAUS)
def test_hcl_without_hardness_is_debiased(seed: int, tau_plus: float) -> None:
    batch = random_batch(seed, scale=2.0)
    one = hcl(*batch, beta=0.0, tau_plus=tau_plus, temperature=0.5)
    two = debiased(*batch, tau_plus=tau_plus, temperature=0.5)
    assert one.loss_B.tolist() == pytest.approx(two.loss_B.tolist(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_equal_negatives_have_no_hardness(beta: float) -> None:
    batch = one_row(1.0, [0.5] * 4)
    found = hcl(*batch, beta=beta, tau_plus=0.1, temperature=1.0)
    wanted = debiased(*batch, tau_plus=0.1, temperature=1.0)
    assert found.loss_B.item() == pytest.approx(wanted.loss_B.item(), rel=1e-6)


@pytest.mark.parametrize("call", [debiased, hcl])
@pytest.mark.parametrize(
    "wrong", [{"tau_plus": 1.0}, {"tau_plus": -0.1}, {"temperature": 0.0}, {"tau_plus": math.nan}]
)
def test_parameters_without_a_meaning(call: object, wrong: dict[str, float]) -> None:
    settings = {"tau_plus": 0.1, "temperature": 0.5, **wrong}
    extra = {"beta": 1.0} if call is hcl else {}
    with pytest.raises(PyriteError, match=next(iter(wrong))):
        call(*COSINES, **settings, **extra)  # type: ignore[operator]


def test_hcl_refuses_to_prefer_easy_negatives() -> None:
    with pytest.raises(PyriteError, match="beta"):
        hcl(*COSINES, beta=-1.0, tau_plus=0.1, temperature=0.5)

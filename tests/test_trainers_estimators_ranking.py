"""LambdaLoss, CoSENT, ClusterNS's margin, and risks for unlabelled texts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrite.core.errors import PyriteError
from pyrite.trainers.estimators.bidirectional_margin import bidirectional_margin
from pyrite.trainers.estimators.cosent import cosent
from pyrite.trainers.estimators.lambda_loss import lambda_loss
from pyrite.trainers.estimators.pairwise import pairwise_softplus
from pyrite.trainers.estimators.unlabelled import cet_log_weight, nn_pu, sar_risk

SEEDS = st.integers(0, 2**32 - 1)


def softplus(x: Tensor) -> Tensor:
    return torch.log(1 + x.exp())


def compare(found: Tensor, wanted: Tensor, one: Tensor, two: Tensor) -> None:
    """Value, type and gradient of a scalar loss against its float64 oracle."""
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-5)
    got = torch.autograd.grad(found, one)[0]
    right = torch.autograd.grad(wanted + 0 * two.sum(), two)[0]
    assert torch.allclose(got.double(), right, rtol=1e-3, atol=1e-5)


def lambda_oracle(
    scores: Tensor, grades: list[int], metric: str, cut: int | None, sigma: float
) -> tuple[Tensor, int]:
    """One row, swap by swap: the measure before and after each exchange of two places."""
    order = sorted(range(len(grades)), key=lambda at: (-scores[at].item(), at))
    place = {at: rank for rank, at in enumerate(order, 1)}
    last = len(grades) if cut is None else cut

    def worth(rank: int) -> float:
        if rank > last:
            return 0.0
        return 1 / rank if metric == "mrr" else 1 / math.log2(1 + rank)

    best = sorted(grades, reverse=True)
    ideal = sum((2**g - 1) * worth(rank) for rank, g in enumerate(best, 1))
    total, pairs = 0 * scores.sum(), 0
    for i in range(len(grades)):
        for j in range(len(grades)):
            if grades[i] > grades[j]:
                weight = abs(worth(place[i]) - worth(place[j]))
                if metric == "ndcg":
                    weight *= (2 ** grades[i] - 2 ** grades[j]) / ideal
                total = total + weight * softplus(-sigma * (scores[i] - scores[j]))
                pairs += 1
    return total / max(pairs, 1), pairs


def test_lambda_loss_known_value() -> None:
    scores, grades = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0, 1, 0]])
    found = lambda_loss(scores, grades, torch.ones(1, 3).bool())
    assert found.loss_B.item() == pytest.approx(0.354421, abs=1e-6)
    assert found.counts_B.tolist() == [True]


@given(
    SEEDS,
    st.sampled_from(["mrr", "ndcg"]),
    st.sampled_from([None, 1, 3, 200]),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_lambda_loss_is_the_definition(
    seed: int, metric: str, cut: int | None, sigma: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, 7, generator=generator).mul(4).round() / 2  # ties
    grades = torch.randint(0, 4, (4, 7), generator=generator)
    mask = torch.rand(4, 7, generator=generator) < 0.8
    mask[3] = False
    grades[2] = 1
    one, two = scores.clone(), scores.double().requires_grad_()
    one[~mask] = math.nan
    one.requires_grad_()
    found = lambda_loss(one, grades, mask, metric, cut, sigma)  # type: ignore[arg-type]
    wanted = torch.zeros(()).double()
    for row in range(4):
        kept = [at for at in range(7) if mask[row, at]]
        loss, pairs = lambda_oracle(
            two[row][mask[row]], [int(grades[row, at]) for at in kept], metric, cut, sigma
        )
        assert found.loss_B[row].item() == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
        assert bool(found.counts_B[row]) == (pairs > 0)
        wanted = wanted + loss
    compare(found.loss_B.sum(), wanted, one, two)
    assert (
        torch.autograd.grad(lambda_loss(one, grades, mask).loss_B.sum(), one)[0][~mask] == 0
    ).all()


@pytest.mark.parametrize("metric", ["mrr", "ndcg"])
def test_a_row_of_equal_grades_has_no_pair(metric: str) -> None:
    scores = torch.randn(2, 5).requires_grad_()
    grades = torch.tensor([[1] * 5, [0] * 5])
    found = lambda_loss(scores, grades, torch.ones(2, 5).bool(), metric)  # type: ignore[arg-type]
    assert found.loss_B.tolist() == [0.0, 0.0]
    assert found.counts_B.tolist() == [False, False]
    assert (torch.autograd.grad(found.loss_B.sum(), scores)[0] == 0).all()


@pytest.mark.parametrize("level", [1e4, -1e4])
@pytest.mark.parametrize("metric", ["mrr", "ndcg"])
def test_lambda_loss_is_finite_far_out(metric: str, level: float) -> None:
    scores = torch.tensor([[level, -level, 0.0, 1.0]]).requires_grad_()
    grades, mask = torch.tensor([[0, 3, 1, 0]]), torch.ones(1, 4).bool()
    found = lambda_loss(scores, grades, mask, metric)  # type: ignore[arg-type]
    assert torch.isfinite(found.loss_B).all()
    assert torch.isfinite(torch.autograd.grad(found.loss_B.sum(), scores)[0]).all()


def test_a_positive_far_ahead_has_nothing_left_to_learn() -> None:
    scores = torch.tensor([[500.0, 1.0, 0.0]]).requires_grad_()
    found = lambda_loss(scores, torch.tensor([[1, 0, 0]]), torch.ones(1, 3).bool())
    assert (torch.autograd.grad(found.loss_B.sum(), scores)[0] == 0).all()


def test_lambda_loss_widens_half_precision() -> None:
    half = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    grades, mask = torch.tensor([[0, 1, 2, 0, 0, 1]] * 2), torch.ones(2, 6).bool()
    found = lambda_loss(half, grades, mask).loss_B
    assert found.dtype == torch.float32
    assert torch.equal(found, lambda_loss(half.float(), grades, mask).loss_B)


@pytest.mark.parametrize(("metric", "cut", "says"), [("mrr", 0, "cut=0"), ("map", 5, "'map'")])
def test_lambda_loss_without_a_meaning(metric: str, cut: int, says: str) -> None:
    with pytest.raises(PyriteError, match=says):
        lambda_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2).bool(), metric, cut)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sims", "wanted"), [([0.9, 0.2], 8.315e-7), ([0.2, 0.9], 14.0000008)])
def test_cosent_known_values(sims: list[float], wanted: float) -> None:
    found = cosent(torch.tensor(sims), torch.tensor([1.0, 0.0]))
    assert found.item() == pytest.approx(wanted, rel=1e-3)


@given(SEEDS, st.integers(1, 7), st.sampled_from([0.05, 0.5]))
def test_cosent_is_the_definition(seed: int, pairs: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    one = (2 * torch.rand(pairs, generator=generator) - 1).requires_grad_()
    two = one.detach().double().requires_grad_()
    gold = torch.randint(0, 3, (pairs,), generator=generator)
    total = torch.ones(()).double()
    for i in range(pairs):
        for k in range(pairs):
            if gold[i] > gold[k]:
                total = total + ((two[k] - two[i]) / temperature).exp()
    compare(cosent(one, gold, temperature), torch.log(total), one, two)


def test_cosent_of_equal_gold_values_is_nothing() -> None:
    sims = torch.tensor([0.3, 0.9, -0.2]).requires_grad_()
    loss = cosent(sims, torch.tensor([2.0, 2.0, 2.0]))
    assert loss.item() == 0.0
    assert (torch.autograd.grad(loss, sims)[0] == 0).all()


def test_cosent_is_finite_far_out_and_wide_inside() -> None:
    sims = torch.tensor([1e4, -1e4, 0.0]).requires_grad_()
    loss = cosent(sims, torch.tensor([0.0, 1.0, 2.0]), 1.0)
    assert loss.item() == pytest.approx(2e4)
    assert torch.isfinite(torch.autograd.grad(loss, sims)[0]).all()
    half = torch.tensor([0.91, 0.33, 0.4]).bfloat16()
    gold = torch.tensor([0, 1, 2])
    assert cosent(half, gold).item() == cosent(half.float(), gold).item()
    with pytest.raises(PyriteError, match="temperature"):
        cosent(half, gold, 0.0)


@given(SEEDS, st.sampled_from([(0.2, 0.5), (0.0, 0.0), (0.0, 0.3)]))
def test_bidirectional_margin_is_the_definition(seed: int, settings: tuple[float, float]) -> None:
    alpha, beta = settings
    generator = torch.Generator().manual_seed(seed)
    one = torch.randn(5, 5, generator=generator).requires_grad_()
    two = one.detach().double().requires_grad_()
    same = torch.rand(5, 5, generator=generator) < 0.5
    terms = []
    for i in range(5):
        for j in range(5):
            if i != j and same[i, j]:
                for x in (two[i, j] + alpha, -two[i, j] - beta):
                    terms.append(x if x.item() > 0 else 0 * x)
    wanted = sum(terms, 0 * two.sum()) / max(len(terms) // 2, 1)
    compare(bidirectional_margin(one, same, alpha, beta), wanted, one, two)


def test_bidirectional_margin_counts_same_cluster_pairs_alone() -> None:
    delta = torch.tensor([[9.0, -0.1, math.nan], [-0.9, 9.0, -0.3], [math.inf, -0.3, 9.0]])
    same = torch.tensor([[True, True, False], [True, True, True], [False, True, True]])
    delta.requires_grad_()
    found = bidirectional_margin(delta, same, 0.2, 0.5)
    assert found.item() == pytest.approx((0.1 + 0.4) / 4)
    gradient = torch.autograd.grad(found, delta)[0]
    assert gradient.flatten().tolist() == [0, 0.25, 0, -0.25, 0, 0, 0, 0, 0]
    nobody = bidirectional_margin(delta, torch.eye(3).bool())
    assert nobody.item() == 0.0
    half = torch.tensor([[0.0, -0.1], [-0.9, 0.0]]).bfloat16()
    every = torch.ones(2, 2).bool()
    assert bidirectional_margin(half, every).item() == (
        bidirectional_margin(half.float(), every).item()
    )
    with pytest.raises(PyriteError, match="alpha"):
        bidirectional_margin(delta, same, 0.6, 0.5)


def pu_parts(pos: Tensor, unlabelled: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    def mean(values: Tensor, sign: float) -> Tensor:
        return sum((softplus(sign * x) for x in values), 0 * values.sum()) / len(values)

    return prior * mean(pos, -1.0), mean(unlabelled, 1.0) - prior * mean(pos, 1.0)


@given(
    SEEDS,
    st.sampled_from([0.0, 0.1, 0.9]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_nn_pu_is_the_definition(seed: int, prior: float, beta: float, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    # high positives and low unlabelled scores overfit: the bracket falls below 0
    shift = torch.tensor([2.0] * 3 + [-1.5] * 5)
    one = (torch.randn(8, generator=generator) + shift).requires_grad_()
    two = one.detach().double().requires_grad_()
    relevant, bracket = pu_parts(two[:3], two[3:], prior)
    found = nn_pu(one[:3], one[3:], prior, beta, gamma)
    wanted = relevant + max(bracket.item(), 0.0)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)
    step = -gamma * bracket if bracket.item() < -beta else relevant + bracket
    right = torch.autograd.grad(step, two)[0]
    assert torch.allclose(torch.autograd.grad(found, one)[0].double(), right, atol=1e-5)


def test_nn_pu_overfit_keeps_the_value_and_climbs() -> None:
    pos, unlabelled = torch.tensor([4.0, 5.0]), torch.tensor([-6.0, -7.0]).requires_grad_()
    relevant, bracket = pu_parts(pos, unlabelled, 0.5)
    assert bracket.item() < 0
    found = nn_pu(pos, unlabelled, 0.5)
    assert found.item() == pytest.approx(relevant.item(), rel=1e-5)
    # a step down the gradient raises the scores that were pushed too low
    assert (torch.autograd.grad(found, unlabelled)[0] < 0).all()


def test_nn_pu_without_a_prior_is_the_negative_loss() -> None:
    pos, unlabelled = torch.tensor([1.0]), torch.tensor([0.5, -0.3])
    assert nn_pu(pos, unlabelled, 0.0).item() == pytest.approx(softplus(unlabelled).mean().item())


@pytest.mark.parametrize("wrong", [{"prior": 1.5}, {"beta": -1.0}, {"gamma": -1.0}])
def test_nn_pu_without_a_meaning(wrong: dict[str, float]) -> None:
    with pytest.raises(PyriteError, match=next(iter(wrong))):
        nn_pu(torch.zeros(1), torch.zeros(1), **{"prior": 0.1, **wrong})


@given(SEEDS)
def test_sar_risk_is_the_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    one = torch.randn(7, generator=generator).requires_grad_()
    two = one.detach().double().requires_grad_()
    propensity = torch.rand(3, generator=generator)
    propensity[0] = 0.01
    total = torch.zeros(()).double()
    for score, chance in zip(two[:3], propensity.tolist(), strict=True):
        e = max(chance, 0.05)
        total = total + softplus(-score) / e + (1 - 1 / e) * softplus(score)
    for score in two[3:]:
        total = total + softplus(score)
    compare(sar_risk(one[:3], propensity, one[3:]), total / 7, one, two)


def test_sar_risk_of_certain_labels_is_supervised() -> None:
    labelled, unlabelled = torch.tensor([1.0, -0.5]), torch.tensor([0.3, 2.0, -1.0])
    found = sar_risk(labelled, torch.ones(2), unlabelled)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.cat([labelled, unlabelled]), target
    )
    assert found.item() == pytest.approx(wanted.item())
    with pytest.raises(PyriteError, match="floor"):
        sar_risk(labelled, torch.ones(2), unlabelled, 0.0)


@pytest.mark.parametrize("level", [1e4, -1e4])
def test_risks_are_finite_far_out_and_wide_inside(level: float) -> None:
    scores = torch.tensor([level, -level, 0.0]).requires_grad_()
    for loss in (nn_pu(scores, -scores, 0.3), sar_risk(scores, torch.ones(3) * 0.2, -scores)):
        assert torch.isfinite(loss)
        assert torch.isfinite(torch.autograd.grad(loss, scores)[0]).all()
    half = torch.tensor([0.91, 0.33, -0.4]).bfloat16()
    assert nn_pu(half, half, 0.2).item() == nn_pu(half.float(), half.float(), 0.2).item()
    one = sar_risk(half, half.abs(), half)
    assert one.dtype == torch.float32
    assert one.item() == sar_risk(half.float(), half.abs().float(), half.float()).item()


def test_nobody_has_no_risk() -> None:
    none = torch.zeros(0)
    assert nn_pu(none, none, 0.3).item() == 0.0
    assert sar_risk(none, none, none).item() == 0.0


def test_cet_known_values() -> None:
    logits, mask = torch.tensor([[0.0, 2.0, 10.0]]), torch.ones(1, 3).bool()
    plain = cet_log_weight(logits, mask, 10.0, normalise=False).exp()[0].tolist()
    assert plain == pytest.approx([2, 2.221403, 3.718282], abs=1e-5)
    scaled = cet_log_weight(logits, mask, 10.0).exp()[0]
    assert scaled.mean().item() == pytest.approx(1.0)
    assert (scaled / scaled[0] * 2).tolist() == pytest.approx(plain, abs=1e-5)
    capped = cet_log_weight(torch.tensor([[1e4, -1e4]]), mask[:, :2], 1.0, normalise=False)
    assert capped.exp()[0].tolist() == pytest.approx([10.0, 1.0])


@given(SEEDS)
def test_cet_weights_are_the_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 5, generator=generator)
    mask = torch.rand(3, 5, generator=generator) < 0.7
    mask[2] = False
    found = cet_log_weight(logits.masked_fill(~mask, math.nan), mask, 2.0, 4.0)
    assert not found.requires_grad
    for row in range(3):
        raw = {
            j: min(1 / (1 - 1 / (1 + math.exp(-logits[row, j].item() / 2))), 4.0)
            for j in range(5)
            if mask[row, j]
        }
        for j in range(5):
            wanted = raw[j] * len(raw) / sum(raw.values()) if j in raw else 1.0
            assert found[row, j].exp().item() == pytest.approx(wanted, rel=1e-4)


def test_cet_with_an_endless_temperature_is_the_pairwise_loss() -> None:
    pos, neg, mask = torch.tensor([1.0]), torch.tensor([[0.5, 2.0]]), torch.ones(1, 2).bool()
    weight = cet_log_weight(torch.tensor([[5.0, -3.0]]), mask, 1e9)
    found = pairwise_softplus(pos, neg, weight, mask)
    assert found.item() == pytest.approx(pairwise_softplus(pos, neg, None, mask).item(), rel=1e-6)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"cap": 0.5}])
def test_cet_without_a_meaning(wrong: dict[str, float]) -> None:
    with pytest.raises(PyriteError, match=next(iter(wrong))):
        cet_log_weight(torch.zeros(1, 2), torch.ones(1, 2).bool(), **wrong)  # type: ignore[arg-type]

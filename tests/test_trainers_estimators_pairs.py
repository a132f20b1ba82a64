"""CCL, pairwise softplus and triplet; margin-MSE, KL distillation and AR2."""

from __future__ import annotations

import math

import pytest
import torch
from estimator_cases import Batch, assert_rows, one_row, random_batch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrite.core.errors import PyriteError
from pyrite.trainers.estimators.ccl import ccl
from pyrite.trainers.estimators.distillation import ar2, kl_distillation, margin_mse
from pyrite.trainers.estimators.info_nce import info_nce
from pyrite.trainers.estimators.pairwise import pairwise_softplus
from pyrite.trainers.estimators.triplet import triplet

SEEDS = st.integers(0, 2**32 - 1)


def softplus(x: Tensor) -> Tensor:
    return torch.log(1 + x.exp())


def hinge(x: Tensor) -> Tensor:
    return x if x.item() > 0 else 0 * x


def mean(values: list[Tensor], nothing: Tensor) -> Tensor:
    return sum(values, nothing) / max(len(values), 1)


def test_ccl_known_value() -> None:
    found = ccl(*one_row(0.8, [0.6, 0.2, -0.1]), margin=0.4, weight=0.5)
    assert found.item() == pytest.approx(0.233333, abs=1e-6)


@pytest.mark.parametrize("settings", [(1.0, 0.5), (0.4, 0.0)])
def test_ccl_without_negatives_that_push_is_the_positive(settings: tuple[float, float]) -> None:
    found = ccl(*one_row(0.8, [0.6, 0.2]), margin=settings[0], weight=settings[1])
    assert found.item() == pytest.approx(0.2, abs=1e-6)


@given(SEEDS, st.sampled_from([-0.5, 0.0, 0.4]), st.sampled_from([0.5, 3.0]), st.booleans())
def test_ccl_is_the_definition(seed: int, margin: float, weight: float, weighted: bool) -> None:
    def row(pos: Tensor, neg: list[Tensor], weights: list[float]) -> Tensor:
        over = [w * hinge(x - margin) for x, w in zip(neg, weights, strict=True)]
        return 1 - pos + weight * mean(over, 0 * pos)

    def found(pos: Tensor, neg: Tensor, log_weight: Tensor | None, mask: Tensor) -> Tensor:
        return ccl(pos, neg, log_weight, mask, margin=margin, weight=weight)

    assert_rows(found, row, random_batch(seed, weighted=weighted))


def test_pairwise_known_value() -> None:
    assert pairwise_softplus(*one_row(2, [1, 0])).item() == pytest.approx(0.220095, abs=1e-6)


def test_one_pair_is_info_nce() -> None:
    batch = one_row(2.0, [1.3])
    assert pairwise_softplus(*batch).item() == pytest.approx(info_nce(*batch).item(), rel=1e-6)


@given(SEEDS, st.sampled_from([1.0, 5.0]), st.booleans())
def test_the_mean_of_pairwise_rows_is_the_mean_over_pairs(
    seed: int, scale: float, weighted: bool
) -> None:
    batch = random_batch(seed, scale=scale, weighted=weighted)
    pairs = sum(batch.counts(row, column) for row in range(4) for column in range(6))

    def row(pos: Tensor, neg: list[Tensor], weights: list[float]) -> Tensor:
        every = [w * softplus(x - pos) for x, w in zip(neg, weights, strict=True)]
        return sum(every, 0 * pos) * 4 / max(pairs, 1)

    assert_rows(pairwise_softplus, row, batch)


@given(SEEDS, st.sampled_from([0.0, 0.3, 1.0]), st.booleans())
def test_triplet_is_the_definition(seed: int, margin: float, weighted: bool) -> None:
    def row(pos: Tensor, neg: list[Tensor], weights: list[float]) -> Tensor:
        every = [w * hinge(margin + x - pos) for x, w in zip(neg, weights, strict=True)]
        return mean(every, 0 * pos)

    def found(pos: Tensor, neg: Tensor, log_weight: Tensor | None, mask: Tensor) -> Tensor:
        return triplet(pos, neg, log_weight, mask, margin=margin)

    assert_rows(found, row, random_batch(seed, weighted=weighted))


@given(SEEDS, st.sampled_from([1, 2, 10]), st.sampled_from([0.1, 1.0]), st.booleans())
def test_triplet_of_the_hardest_weighs_them_by_a_softmax(
    seed: int, top_k: int, temperature: float, weighted: bool
) -> None:
    def row(pos: Tensor, neg: list[Tensor], weights: list[float]) -> Tensor:
        hardest = sorted(zip(neg, weights, strict=True), key=lambda pair: -pair[0].item())[:top_k]
        raw = [math.exp(x.item() / temperature) for x, _ in hardest]
        return sum(
            (
                share / sum(raw) * w * hinge(0.3 + x - pos)
                for share, (x, w) in zip(raw, hardest, strict=True)
            ),
            0 * pos,
        )

    def found(pos: Tensor, neg: Tensor, log_weight: Tensor | None, mask: Tensor) -> Tensor:
        return triplet(
            pos, neg, log_weight, mask, margin=0.3, top_k=top_k, softmax_temperature=temperature
        )

    assert_rows(found, row, random_batch(seed, weighted=weighted))


def test_equally_hard_negatives_are_taken_from_the_left() -> None:
    negatives = torch.full((1, 40), 0.5, requires_grad=True)
    mask = torch.ones(1, 40, dtype=torch.bool)
    loss = triplet(torch.tensor([0.5]), negatives, None, mask, margin=0.3, top_k=10)
    gradient = torch.autograd.grad(loss.sum(), negatives)[0][0]
    assert gradient.tolist() == pytest.approx([0.1] * 10 + [0.0] * 30)


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"top_k": 3, "softmax_temperature": 0.0}])
def test_triplet_parameters_without_a_meaning(wrong: dict[str, float]) -> None:
    with pytest.raises(PyriteError, match="top_k"):
        triplet(*one_row(0.5, [0.1]), margin=0.3, **wrong)  # type: ignore[arg-type]


class Taught(Batch):
    """A batch with a teacher's scores, NaN where they are masked."""

    teacher_pos_B: Tensor
    teacher_neg_BN: Tensor


def taught(seed: int, scale: float = 2.0) -> Taught:
    batch = Taught(*random_batch(seed, scale=scale, weighted=False))
    generator = torch.Generator().manual_seed(seed + 1)
    batch.teacher_pos_B = 3 * torch.randn(4, generator=generator)
    batch.teacher_neg_BN = 3 * torch.randn(4, 6, generator=generator)
    batch.teacher_neg_BN[~batch.mask_BN] = math.nan
    return batch


def teacher_of(batch: Taught, pos: Tensor, wide: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The teacher's scores of the row that `pos` is the positive of, as float64 scalars."""
    row = next(i for i in range(4) if wide[i].item() == pos.item())
    negatives = [batch.teacher_neg_BN[row, j].double() for j in range(6) if batch.mask_BN[row, j]]
    return batch.teacher_pos_B[row].double(), negatives


def test_margin_mse_known_value() -> None:
    scores, teacher = one_row(3, [1]), one_row(9, [4])
    found = margin_mse(scores.pos_B, scores.neg_BN, teacher.pos_B, teacher.neg_BN, scores.mask_BN)
    assert found.item() == pytest.approx(9.0)


@given(SEEDS)
def test_margin_mse_is_the_definition(seed: int) -> None:
    batch = taught(seed)

    def row(pos: Tensor, neg: list[Tensor], _: list[float]) -> Tensor:
        own, others = teacher_of(batch, pos, batch.pos_B)
        every = [((pos - x) - (own - t)) ** 2 for x, t in zip(neg, others, strict=True)]
        return mean(every, 0 * pos)

    def found(pos: Tensor, neg: Tensor, _: Tensor | None, mask: Tensor) -> Tensor:
        return margin_mse(pos, neg, batch.teacher_pos_B, batch.teacher_neg_BN, mask)

    assert_rows(found, row, batch, 1e-4)


@given(SEEDS, st.floats(-50, 50))
def test_a_constant_added_to_the_teacher_changes_nothing(seed: int, constant: float) -> None:
    batch = taught(seed)
    for loss in (margin_mse, kl_distillation):
        args = batch.pos_B, batch.neg_BN
        one = loss(*args, batch.teacher_pos_B, batch.teacher_neg_BN, batch.mask_BN)
        two = loss(
            *args, batch.teacher_pos_B + constant, batch.teacher_neg_BN + constant, batch.mask_BN
        )
        assert one.tolist() == pytest.approx(two.tolist(), rel=1e-3, abs=1e-3)


def test_kl_known_value() -> None:
    student, teacher = one_row(2, [1, 0]), one_row(4, [2, 0])
    found = kl_distillation(
        student.pos_B, student.neg_BN, teacher.pos_B, teacher.neg_BN, student.mask_BN
    )
    assert found.item() == pytest.approx(0.115611, abs=1e-6)


def test_nothing_to_learn_from_oneself() -> None:
    batch = random_batch(3, weighted=False)
    found = kl_distillation(batch.pos_B, batch.neg_BN, batch.pos_B, batch.neg_BN, batch.mask_BN)
    assert found.tolist() == pytest.approx([0.0] * 4, abs=1e-6)


def log_softmax(scores: list[Tensor]) -> list[Tensor]:
    total = sum((x.exp() for x in scores), torch.zeros(()).double())
    return [torch.log(x.exp() / total) for x in scores]


@given(SEEDS, st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([1.0, 2.0]))
def test_kl_is_the_definition(seed: int, temperature: float, teacher_temperature: float) -> None:
    batch = taught(seed)

    def row(pos: Tensor, neg: list[Tensor], _: list[float]) -> Tensor:
        own, others = teacher_of(batch, pos, batch.pos_B)
        wanted = log_softmax([x / teacher_temperature for x in (own, *others)])
        found = log_softmax([x / temperature for x in (pos, *neg)])
        every = [p.exp() * (p - q) for p, q in zip(wanted, found, strict=True)]
        return sum(every, 0 * pos) * temperature**2

    def found(pos: Tensor, neg: Tensor, _: Tensor | None, mask: Tensor) -> Tensor:
        return kl_distillation(
            pos,
            neg,
            batch.teacher_pos_B,
            batch.teacher_neg_BN,
            mask,
            temperature,
            teacher_temperature,
        )

    assert_rows(found, row, batch, 1e-4)


@pytest.mark.parametrize(
    ("adversarial", "wanted"), [(0.0, 0.833916), (1.0, 1.066824), (0.5, 0.950370)]
)
def test_ar2_known_values(adversarial: float, wanted: float) -> None:
    retriever, ranker = one_row(2, [1, 0]), one_row(3, [2.5, 0])
    found = ar2(
        retriever.pos_B,
        retriever.neg_BN,
        ranker.pos_B,
        ranker.neg_BN,
        retriever.mask_BN,
        adversarial,
    )
    assert found.item() == pytest.approx(wanted, abs=2e-6)


@given(SEEDS, st.sampled_from([0.0, 0.5, 1.0]))
def test_ar2_is_the_definition(seed: int, adversarial: float) -> None:
    batch = taught(seed)

    def row(pos: Tensor, neg: list[Tensor], _: list[float]) -> Tensor:
        own, others = teacher_of(batch, pos, batch.pos_B)
        shares = log_softmax([pos, *neg])
        wanted = log_softmax([own / 2, *(t / 2 for t in others)])
        total = 0 * pos
        for share, belief, score in zip(shares, wanted, (own, *others), strict=True):
            beaten = torch.log(1 / (1 + (score - own).exp()))
            total = total + adversarial * beaten * share - (1 - adversarial) * belief.exp() * share
        return total

    def found(pos: Tensor, neg: Tensor, _: Tensor | None, mask: Tensor) -> Tensor:
        return ar2(pos, neg, batch.teacher_pos_B, batch.teacher_neg_BN, mask, adversarial, 2.0)

    assert_rows(found, row, batch, 1e-4)


@pytest.mark.parametrize("loss", [margin_mse, kl_distillation, ar2])
def test_the_teacher_is_not_taught(loss: object) -> None:
    batch = random_batch(1, weighted=False)
    leaves = [batch.pos_B.clone().requires_grad_(), batch.neg_BN.clone().requires_grad_()]
    student = batch.pos_B.clone().requires_grad_()
    total = loss(student, batch.neg_BN, *leaves, batch.mask_BN).sum()  # type: ignore[operator]
    assert all(slope is None for slope in torch.autograd.grad(total, leaves, allow_unused=True))


def test_distillation_parameters_without_a_meaning() -> None:
    batch = random_batch(1, weighted=False)
    args = batch.pos_B, batch.neg_BN, batch.pos_B, batch.neg_BN, batch.mask_BN
    with pytest.raises(PyriteError, match="temperature"):
        kl_distillation(*args, temperature=0.0)
    with pytest.raises(PyriteError, match="temperature"):
        ar2(*args, teacher_temperature=-1.0)
    with pytest.raises(PyriteError, match="adversarial"):
        ar2(*args, adversarial=1.5)

"""What holds for every loss of rows, whatever its formula."""

from __future__ import annotations

import math

import pytest
import torch
from estimator_cases import Batch, Rows, random_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrite.trainers.estimators.ccl import ccl
from pyrite.trainers.estimators.debiased import debiased
from pyrite.trainers.estimators.distillation import ar2, kl_distillation, margin_mse
from pyrite.trainers.estimators.hcl import hcl
from pyrite.trainers.estimators.info_nce import info_nce
from pyrite.trainers.estimators.pairwise import pairwise_softplus
from pyrite.trainers.estimators.triplet import triplet

SEEDS = st.integers(0, 2**32 - 1)


def taught_by_itself(loss: object) -> Rows:
    """A distillation whose teacher says the opposite of the student."""

    def rows(pos: Tensor, neg: Tensor, _: Tensor | None, mask: Tensor) -> Tensor:
        found: Tensor = loss(pos, neg, -pos.detach(), -neg.detach(), mask)  # type: ignore[operator]
        return found

    return rows


LOSSES: dict[str, Rows] = {
    "info_nce": info_nce,
    "debiased": lambda *a: debiased(*a, tau_plus=0.1, temperature=0.05).loss_B,
    "hcl": lambda *a: hcl(*a, beta=1.0, tau_plus=0.1, temperature=0.05).loss_B,
    "hcl, biased": lambda *a: hcl(*a, beta=2.0, tau_plus=0.0, temperature=0.05).loss_B,
    "ccl": lambda *a: ccl(*a, margin=0.1, weight=2.0),
    "pairwise": pairwise_softplus,
    "triplet": lambda *a: triplet(*a, margin=0.3),
    "triplet of the hardest": lambda *a: triplet(*a, margin=0.3, top_k=3),
    "margin_mse": taught_by_itself(margin_mse),
    "kl": taught_by_itself(kl_distillation),
    "ar2": taught_by_itself(ar2),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
few = settings(max_examples=20)


def gradients(loss: Rows, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    pos, neg = batch.pos_B.clone().requires_grad_(), batch.neg_BN.clone().requires_grad_()
    rows = loss(pos, neg, batch.log_weight_BN, batch.mask_BN)
    pos_slope, neg_slope = torch.autograd.grad(rows.sum(), (pos, neg))
    return rows.detach(), pos_slope, neg_slope


@every_loss
@few
@given(
    positives=st.lists(st.sampled_from([-1e4, -1.0, 0.0, 1e4]), min_size=3, max_size=3),
    negatives=st.lists(st.sampled_from([-1e4, 0.0, 1.0, 1e4]), min_size=12, max_size=12),
    seed=SEEDS,
)
def test_extreme_logits_stay_finite(
    loss: Rows, positives: list[float], negatives: list[float], seed: int
) -> None:
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(seed)) < 0.7
    batch = Batch(torch.tensor(positives), torch.tensor(negatives).reshape(3, 4), None, mask)
    for found in gradients(loss, batch):
        assert torch.isfinite(found).all()


@every_loss
@few
@given(seed=SEEDS)
def test_what_is_masked_changes_nothing(loss: Rows, seed: int) -> None:
    batch = random_batch(seed, scale=3.0, weighted=False)
    junk = torch.tensor([math.nan, math.inf, -math.inf, 1e4, 0.0, 7.0]).expand(4, 6)
    spoilt = batch._replace(neg_BN=torch.where(batch.mask_BN, batch.neg_BN, junk))
    for one, two in zip(gradients(loss, batch), gradients(loss, spoilt), strict=True):
        assert torch.equal(one, two)
    assert (gradients(loss, spoilt)[2][~batch.mask_BN] == 0).all()


@every_loss
@few
@given(seed=SEEDS)
def test_the_order_of_rows_and_columns_changes_nothing(loss: Rows, seed: int) -> None:
    batch = random_batch(seed, scale=3.0)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(4, generator=generator), torch.randperm(6, generator=generator)
    assert batch.log_weight_BN is not None
    other = Batch(
        batch.pos_B[rows],
        *(t[rows][:, columns] for t in (batch.neg_BN, batch.log_weight_BN, batch.mask_BN)),
    )
    losses, pos, neg = gradients(loss, batch)
    losses_2, pos_2, neg_2 = gradients(loss, other)
    for one, two in ((losses[rows], losses_2), (pos[rows], pos_2), (neg[rows][:, columns], neg_2)):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)


@every_loss
def test_without_negatives_no_negative_pulls(loss: Rows) -> None:
    pos, mask = torch.tensor([0.5, -2.0]), torch.zeros(2, 3, dtype=torch.bool)
    losses, _, neg = gradients(loss, Batch(pos, torch.full((2, 3), math.nan), None, mask))
    assert torch.isfinite(losses).all()
    assert (neg == 0).all()
    narrow = loss(pos, torch.zeros(2, 0), None, mask[:, :0])
    assert narrow.tolist() == losses.tolist()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_first(loss: Rows, dtype: torch.dtype) -> None:
    batch = random_batch(3, scale=10.0)
    assert batch.log_weight_BN is not None
    half = Batch(
        batch.pos_B.to(dtype), batch.neg_BN.to(dtype), batch.log_weight_BN.to(dtype), batch.mask_BN
    )
    assert half.log_weight_BN is not None
    wide = Batch(half.pos_B.float(), half.neg_BN.float(), half.log_weight_BN.float(), half.mask_BN)
    found, *slopes = gradients(loss, half)
    assert found.dtype == torch.float32
    assert torch.equal(found, gradients(loss, wide)[0])
    assert {slope.dtype for slope in slopes} == {dtype}


@every_loss
def test_no_weight_and_a_weight_of_one_are_the_same(loss: Rows) -> None:
    batch = random_batch(9, scale=3.0, weighted=False)
    ones = batch._replace(log_weight_BN=torch.zeros(4, 6))
    for one, two in zip(gradients(loss, batch), gradients(loss, ones), strict=True):
        assert torch.equal(one, two)

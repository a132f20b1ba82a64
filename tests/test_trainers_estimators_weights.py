"""Log-weights and masks: Soft-InfoNCE and its BM25, DCLR and its noise, GIST, P(false negative)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from estimator_cases import random_batch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from pyrite.core.errors import PyriteError
from pyrite.trainers.estimators.batch_bm25 import bm25_of_documents
from pyrite.trainers.estimators.false_negatives import (
    dclr_log_weight,
    false_negative_log_weight,
    guided_mask,
)
from pyrite.trainers.estimators.info_nce import info_nce
from pyrite.trainers.estimators.noise import noise_negatives
from pyrite.trainers.estimators.soft_weights import hardness_log_weight, soft_info_nce_log_weight

SEEDS = st.integers(0, 2**32 - 1)
ESTIMATES = torch.tensor([[0.9, 0.2, 0.1, 0.0]])
ALL_FOUR = torch.ones(1, 4, dtype=torch.bool)


def test_soft_weights_known_values() -> None:
    found = soft_info_nce_log_weight(ESTIMATES, ALL_FOUR, 1.3, 0.7, 1.0)
    assert found.log_weight_BN.exp()[0].tolist() == pytest.approx(
        [0.39305, 1.13489, 1.20453, 1.26754], abs=1e-5
    )
    assert found.mean_weight.item() == pytest.approx(1.0, abs=1e-6)
    negatives = torch.tensor([[1.5, 0.0, -0.5, -1.0]])
    loss = info_nce(torch.tensor([2.0]), negatives, found.log_weight_BN, ALL_FOUR)
    assert loss.item() == pytest.approx(0.440810, abs=1e-6)
    plain = info_nce(torch.tensor([2.0]), negatives, None, ALL_FOUR)
    assert plain.item() == pytest.approx(0.627935, abs=1e-6)


def test_a_sharp_estimate_meets_the_floor_and_the_mean_says_so() -> None:
    found = soft_info_nce_log_weight(ESTIMATES, ALL_FOUR, 1.3, 0.7, 0.1)
    assert found.log_weight_BN.exp()[0, 0].item() == pytest.approx(0.1)
    assert found.mean_weight.item() == pytest.approx(1 + (0.1 + 1.59525) / 4, abs=1e-4)


@given(
    SEEDS,
    st.sampled_from([(1.3, 0.7), (1.5, 0.5), (0.0, 1.0)]),
    st.sampled_from([0.1, 1.0, 5.0]),
    st.sampled_from([0.0, 0.1]),
)
def test_soft_weights_are_the_definition(
    seed: int, settings: tuple[float, float], temperature: float, floor: float
) -> None:
    alpha, beta = settings
    generator = torch.Generator().manual_seed(seed)
    estimator = torch.randn(4, 9, generator=generator)
    mask = torch.rand(4, 9, generator=generator) < 0.8
    mask[:, :4] = True
    mask[3] = False
    estimator[~mask] = math.nan
    found = soft_info_nce_log_weight(estimator, mask, alpha, beta, temperature, floor)
    every = []
    for row in range(4):
        raw = {
            j: math.exp(estimator[row, j].item() / temperature) for j in range(9) if mask[row, j]
        }
        for j in range(9):
            wanted = 1.0
            if j in raw:
                similar = raw[j] / sum(raw.values())
                wanted = max((beta - alpha * similar) / (beta - alpha / len(raw)), floor)
                every.append(wanted)
            weight = found.log_weight_BN[row, j].exp().item()
            assert weight == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    assert found.mean_weight.item() == pytest.approx(sum(every) / len(every), rel=1e-4)


@pytest.mark.parametrize(("alpha", "beta"), [(1.3, 0.7), (1.5, 0.5), (1.0, 1.0)])
def test_an_estimate_that_knows_nothing_is_info_nce(alpha: float, beta: float) -> None:
    mask = torch.ones(2, 5, dtype=torch.bool)
    found = soft_info_nce_log_weight(torch.full((2, 5), 0.3), mask, alpha, beta, 1.0)
    assert found.log_weight_BN.flatten().tolist() == pytest.approx([0.0] * 10, abs=1e-6)


def test_a_batch_without_negatives_has_a_mean_weight_of_one() -> None:
    found = soft_info_nce_log_weight(torch.zeros(3, 2), torch.zeros(3, 2).bool(), 1.3, 0.7, 1.0)
    assert found.mean_weight.item() == 1.0
    assert found.log_weight_BN.tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize(("alpha", "beta", "number"), [(1.3, 0.7, 1), (1.5, 0.5, 3), (1, 1, 1)])
def test_too_few_negatives_for_soft_weights(alpha: float, beta: float, number: int) -> None:
    estimator, mask = torch.zeros(2, number + 1), torch.ones(2, number + 1, dtype=torch.bool)
    assert soft_info_nce_log_weight(estimator, mask, alpha, beta, 1.0).mean_weight.item() == (
        pytest.approx(1.0)
    )
    mask[1, 0] = False
    with pytest.raises(PyriteError, match=rf"has {number} negatives.*batch_size"):
        soft_info_nce_log_weight(estimator, mask, alpha, beta, 1.0)


@pytest.mark.parametrize("wrong", ["alpha", "beta", "temperature", "floor"])
def test_soft_weights_without_a_meaning(wrong: str) -> None:
    settings = {"alpha": 1.3, "beta": 0.7, "temperature": 1.0, "floor": 0.1, wrong: -1.0}
    with pytest.raises(PyriteError, match=r"=-1\.0"):
        soft_info_nce_log_weight(ESTIMATES, ALL_FOUR, **settings)


def test_no_weight_carries_a_gradient() -> None:
    leaf = (torch.rand(3, 9) * 0.5).requires_grad_()
    mask = torch.ones(3, 9, dtype=torch.bool)
    assert not hardness_log_weight(leaf, 5.0).requires_grad
    assert not soft_info_nce_log_weight(leaf, mask, 1.3, 0.7, 1.0).log_weight_BN.requires_grad
    assert not dclr_log_weight(leaf, 0.5).requires_grad
    assert not false_negative_log_weight(leaf).requires_grad


def test_weights_are_float32_of_half_precision() -> None:
    half = (torch.rand(3, 9, generator=torch.Generator().manual_seed(0))).bfloat16()
    mask = torch.ones(3, 9, dtype=torch.bool)
    for make in (
        lambda x: hardness_log_weight(x, 5.0),
        lambda x: soft_info_nce_log_weight(x, mask, 1.3, 0.7, 0.1).log_weight_BN,
        lambda x: dclr_log_weight(x, 0.5),
        false_negative_log_weight,
    ):
        assert make(half).dtype == torch.float32
        assert torch.equal(make(half), make(half.float()))
    assert torch.equal(guided_mask(half[:, 0], half), guided_mask(half[:, 0].float(), half.float()))


def bm25_oracle(
    queries: Sequence[Sequence[str]], texts: Sequence[Sequence[str]], average: float | None
) -> list[list[float]]:
    mean = sum(len(t) for t in texts) / len(texts) if average is None else average
    table = []
    for query in queries:
        row = []
        for text in texts:
            score = 0.0
            for term in sorted(set(query)):
                matching = sum(term in t for t in texts)
                idf = math.log((len(texts) - matching + 0.5) / (matching + 0.5))
                tf, qtf = list(text).count(term), list(query).count(term)
                length = 1.2 * (1 - 0.75 + 0.75 * len(text) / mean) if mean else 1.0
                score += idf * 2.2 * tf / (tf + length) * 101 * qtf / (100 + qtf)
            row.append(score)
        table.append(row)
    return table


TEXTS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=7), min_size=1, max_size=5)


@given(TEXTS, TEXTS, st.sampled_from([None, 3.5]))
def test_bm25_in_a_batch_is_the_definition(
    queries: list[list[str]], texts: list[list[str]], average: float | None
) -> None:
    found = bm25_of_documents(queries, texts, average)
    assert found.dtype == torch.float32
    assert found.shape == (len(queries), len(texts))
    for row, wanted in zip(found.tolist(), bm25_oracle(queries, texts, average), strict=True):
        assert row == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_bm25_counts_token_numbers_as_well() -> None:
    words = [["to", "be", "to"], ["be"], ["or"]]
    numbers = [[7, 9, 7], [9], [4]]
    found = bm25_of_documents(words, words)
    assert torch.equal(found, bm25_of_documents(numbers, numbers))
    # a term in most texts of the batch counts against a text: the raw idf
    assert found[1, 1].item() < 0 < found[2, 2].item()


def test_a_guide_masks_what_it_rates_above_the_positive() -> None:
    positive, others = torch.tensor([0.7]), torch.tensor([[0.75, 0.69, 0.4, 0.7]])
    assert guided_mask(positive, others).tolist() == [[False, True, True, True]]
    assert guided_mask(positive, others, 0.05).tolist() == [[False, False, True, False]]
    assert guided_mask(positive, others, 0.1, relative=True).tolist() == [
        [False, False, True, False]
    ]


def test_a_relative_margin_lowers_a_negative_threshold_too() -> None:
    positive, others = torch.tensor([-0.2]), torch.tensor([[-0.19, -0.205, -0.215]])
    found = guided_mask(positive, others, 0.05, relative=True)
    assert found.tolist() == [[False, False, True]]


def test_frozen_cosines_above_phi_are_no_negatives() -> None:
    cosines = torch.tensor([[0.95, 0.9, -0.3]])
    assert dclr_log_weight(cosines, 0.9).tolist()[0][0] == -math.inf
    assert dclr_log_weight(cosines, 0.8999).tolist() == [[-math.inf, -math.inf, 0.0]]
    assert dclr_log_weight(cosines, 1.0).tolist() == [[0.0, 0.0, 0.0]]
    nothing_left = dclr_log_weight(cosines, -1.0)
    loss = info_nce(torch.tensor([0.0]), cosines, nothing_left, torch.ones(1, 3).bool())
    assert loss.item() == 0.0


def test_probable_false_negatives_weigh_less() -> None:
    f = torch.tensor([[0.0, 0.25, 0.95, 1.0]])
    found = false_negative_log_weight(f, 0.1).exp()[0].tolist()
    assert found == pytest.approx([1.0, 0.75, 0.1, 0.1])
    assert false_negative_log_weight(f, 0.0)[0, 3].item() == -math.inf
    assert false_negative_log_weight(f, 0.1)[0, 0].item() == 0.0


@pytest.mark.parametrize("f", [-0.1, 1.1, math.nan])
def test_what_is_no_probability(f: float) -> None:
    with pytest.raises(PyriteError, match=r"expected 0\.\.1"):
        false_negative_log_weight(torch.tensor([[0.5, f]]))


def test_a_floor_above_one_is_no_weight() -> None:
    with pytest.raises(PyriteError, match="weight_floor"):
        false_negative_log_weight(torch.tensor([[0.5]]), 1.5)


@pytest.mark.parametrize(
    "weight",
    [
        lambda x, mask: hardness_log_weight(x, 0.0),
        lambda x, mask: dclr_log_weight(x, 1e9),
        lambda x, mask: false_negative_log_weight(torch.zeros_like(x)),
        lambda x, mask: soft_info_nce_log_weight(x, mask, 0.0, 1.0, 1.0).log_weight_BN,
    ],
)
def test_neutral_weights_are_info_nce(weight: object) -> None:
    batch = random_batch(5, scale=5.0, weighted=False)
    found = info_nce(
        batch.pos_B,
        batch.neg_BN,
        weight(batch.neg_BN, batch.mask_BN),  # type: ignore[operator]
        batch.mask_BN,
    )
    assert found.tolist() == info_nce(*batch).tolist()


def noisy_loss(queries: Tensor, docs: Tensor, noise: Tensor) -> Tensor:
    """InfoNCE of the batch with the noise as further negatives, in float64, row by row."""
    queries, docs, noise = (normalize(x.double(), dim=1) for x in (queries, docs, noise))
    total = torch.zeros(()).double()
    for row, query in enumerate(queries):
        own = query @ docs[row] / 0.05
        others = [query @ d / 0.05 for at, d in enumerate(docs) if at != row]
        others += [query @ z / 0.05 for z in noise]
        total = total + torch.logsumexp(torch.stack([own, *others]), 0) - own
    return total / len(queries)


def pair(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 8, generator=generator), torch.randn(4, 8, generator=generator)


def test_noise_climbs_the_gradient_of_the_loss() -> None:
    queries, docs = pair(0)
    start = torch.randn(6, 8, generator=torch.Generator().manual_seed(3))
    found = noise_negatives(
        queries, docs, 6, generator=torch.Generator().manual_seed(3), steps=3, rate=0.1
    )
    at = start.double()
    for _ in range(3):
        at.requires_grad_()
        slope = torch.autograd.grad(noisy_loss(queries, docs, at), at)[0]
        at = at.detach() + 0.1 * torch.stack([g / g.norm() for g in slope])
    assert torch.allclose(found.double(), at, atol=1e-4)
    assert noisy_loss(queries, docs, found) > noisy_loss(queries, docs, start)
    assert not found.requires_grad


def test_noise_is_the_generator_s_alone() -> None:
    queries, docs = pair(1)
    made = []
    for _ in range(2):
        torch.rand(3)
        with torch.no_grad():
            made.append(
                noise_negatives(queries, docs, 5, generator=torch.Generator().manual_seed(7))
            )
    state = torch.get_rng_state()
    noise_negatives(queries, docs, 5, generator=torch.Generator().manual_seed(8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*made)
    assert torch.isfinite(made[0]).all()


def test_noise_without_a_slope_stays() -> None:
    queries, docs = torch.zeros(3, 8), torch.zeros(3, 8)
    found = noise_negatives(queries, docs, 4, generator=torch.Generator().manual_seed(2))
    start = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(found, start)


def test_no_noise_is_an_empty_matrix() -> None:
    queries, docs = pair(1)
    found = noise_negatives(queries, docs, 0, generator=torch.Generator())
    assert found.shape == (0, 8)


@pytest.mark.parametrize("wrong", [{"count": -1}, {"steps": -1}, {"temperature": 0.0}])
def test_noise_without_a_meaning(wrong: dict[str, float]) -> None:
    settings = {"count": 2, **wrong}
    with pytest.raises(PyriteError, match=next(iter(wrong))):
        noise_negatives(*pair(0), generator=torch.Generator(), **settings)  # type: ignore[arg-type]

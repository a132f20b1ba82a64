"""The logits stage: products, directions, and the spec's worked numbers through the module."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrite.trainers.logits import Logits, Sides, direction_logits
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.loss_config import Direction, LossSection
from pyrite.trainers.masks import BatchIds, Known

NONE_KNOWN = Known(torch.empty(0, dtype=torch.int64), 1)
IDS = BatchIds.of(torch.tensor([[0, 10, 20, 30], [1, 11, 21, 31], [2, 12, 22, 32]]))


def random_sides(seed: int = 0) -> Sides:
    generator = torch.Generator().manual_seed(seed)
    return Sides(torch.randn(3, 4, generator=generator), torch.randn(9, 4, generator=generator))


@pytest.mark.parametrize("direction", ["q2d", "d2q", "q2q", "d2d"])
def test_logits_are_products_over_the_temperature(direction: Direction) -> None:
    sides, rows = random_sides(), torch.tensor([1, 2])
    found = direction_logits(sides, IDS, NONE_KNOWN, direction, rows, 0.5)
    anchors = sides.queries_GD if direction[0] == "q" else sides.docs_MD
    others = sides.docs_MD if direction[2] == "d" else sides.queries_GD
    for at, row in enumerate(rows.tolist()):
        for column, other in enumerate(others):
            wanted = (
                sum(float(a) * float(b) for a, b in zip(anchors[row], other, strict=True)) / 0.5
            )
            assert found.neg_RN[at, column].item() == pytest.approx(wanted, rel=1e-5, abs=1e-6)
            assert found.marginal_RN[at, column].item() == (column < 3)
        own = float(sides.queries_GD[row] @ sides.docs_MD[row]) / 0.5
        assert found.pos_R[at].item() == pytest.approx(own, rel=1e-5)


def test_a_row_s_own_documents() -> None:
    sides = random_sides()
    found = sides.own(IDS, torch.tensor([2, 0]))
    wanted = [
        [float(sides.queries_GD[row] @ sides.docs_MD[row + 3 * c]) for c in range(3)]
        for row in (2, 0)
    ]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-6)


@pytest.mark.parametrize("weighted", [(False, False), (True, False), (False, True), (True, True)])
def test_joined_columns_keep_their_weights(weighted: tuple[bool, bool]) -> None:
    def part(at: int, columns: int) -> Logits:
        full = torch.full((2, columns), float(at))
        weight = full - 7 if weighted[at] else None
        return Logits(torch.zeros(2), full, full > 0, full == 0, weight)

    joined = part(0, 3).joined(part(1, 2))
    assert joined.neg_RN.tolist() == [[0.0] * 3 + [1.0] * 2] * 2
    assert joined.mask_RN.tolist() == [[False] * 3 + [True] * 2] * 2
    assert joined.marginal_RN.tolist() == [[True] * 3 + [False] * 2] * 2
    if not any(weighted):
        assert joined.log_weight_RN is None
        return
    assert joined.log_weight_RN is not None
    first, second = (-7.0 if weighted[0] else 0.0), (-6.0 if weighted[1] else 0.0)
    assert joined.log_weight_RN.tolist() == [[first] * 3 + [second] * 2] * 2


class Given(torch.nn.Module):
    """Returns the vectors that it is given."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["vector"]}


def module_value(scores: list[list[float]], config: dict[str, Any], negatives: int = 0) -> float:
    """The loss of queries whose inner products with documents 0, 1, .. are `scores`."""
    section = LossSection(**{"similarity": "dot", "temperature": 1.0, **config})
    queries = torch.tensor(scores)
    rows, docs = queries.shape
    assert docs == rows * (1 + negatives)
    eye = torch.eye(docs)
    columns = [queries, *(eye[at * rows : (at + 1) * rows] for at in range(1 + negatives))]
    loss = ContrastiveLoss(Given(), section)
    found: Tensor = loss([{"vector": column} for column in columns])
    return found.item()


SQUARE = [[2.0, 0.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("directions", "partition", "wanted"),
    [
        (["q2d"], "joint", 0.220095),
        (["d2q"], "joint", 0.220095),
        (["q2d", "d2q"], "per_direction", 0.220095),
        (["q2d", "d2q"], "joint", 0.407606),
    ],
)
def test_two_rows(directions: list[str], partition: str, wanted: float) -> None:
    config = {"directions": directions, "partition": partition}
    assert module_value(SQUARE, config) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("config", "scores", "wanted"),
    [
        ({}, [2.0, 1.0, 0.0], 0.407606),
        ({"temperature": 0.05}, [0.8, 0.6, 0.2], 0.018156),
        ({}, [0.8, 0.6, 0.2], 0.861852),
        ({"name": "hardness", "alpha": 0.0, "temperature": 0.05}, [0.8, 0.6, 0.2], 0.018156),
        ({"name": "hardness", "alpha": 5.0, "temperature": 0.05}, [0.8, 0.6, 0.2], 0.313274),
        ({"name": "hardness", "alpha": 9.0, "temperature": 0.05}, [0.8, 0.6, 0.2], 1.620425),
        ({"name": "pairwise"}, [2.0, 1.0, 0.0], 0.220095),
        ({"name": "lambda_rank"}, [2.0, 3.0, 1.0], 0.354421),
        ({"name": "ccl", "margin": 0.4, "weight": 0.5}, [0.8, 0.6, 0.2, -0.1], 0.233333),
    ],
)
def test_one_row_with_mined_negatives(
    config: dict[str, Any], scores: list[float], wanted: float
) -> None:
    found = module_value([scores], config, negatives=len(scores) - 1)
    # at a temperature of 0.05 float32 keeps five digits of the logit's exponential
    assert found == pytest.approx(wanted, abs=2e-6)


@pytest.mark.parametrize("negatives", [1, 7, 100])
@pytest.mark.parametrize("level", [-20.0, 0.0, 3.5])
def test_equal_logits_cost_the_logarithm_of_the_choices(negatives: int, level: float) -> None:
    found = module_value([[level] * (1 + negatives)], {}, negatives=negatives)
    assert found == pytest.approx(math.log(1 + negatives), abs=1e-5)


@pytest.mark.parametrize(("own", "other"), [(1e4, -1e4), (-1e4, 1e4), (1e4, 1e4), (-1e4, -1e4)])
def test_extreme_logits_stay_finite(own: float, other: float) -> None:
    found = module_value([[own] + [other] * 5], {}, negatives=5)
    wanted = 0.0 if own > other else other - own + math.log(5 + (own == other))
    # neighbouring float32 numbers lie 0.001 apart at 1e4
    assert found == pytest.approx(wanted, abs=1e-3)

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import tiny_model
from torch import Tensor, nn

from pyrite.trainers.info_nce import MISSING, InfoNCE, allowed_columns, first_copies, info_nce

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def everything(rows: int, columns: int) -> Tensor:
    return torch.ones(rows, columns, dtype=torch.bool)


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss, at)[0]


def loss_oracle(logits_BM: Tensor, target: list[int], allowed: list[list[bool]]) -> Tensor:
    """The mean of -log softmax(target) over the columns in play, in float64, row by row."""
    total = 0 * logits_BM.sum()  # so that a gradient flows even if no column is in play
    for row, own, may in zip(logits_BM, target, allowed, strict=True):
        others = [row[at] - row[own] for at, ok in enumerate(may) if ok and at != own]
        total = total + torch.log1p(sum((x.exp() for x in others), torch.zeros(()).double()))
    return total / len(target)


@pytest.mark.parametrize(
    ("logits", "target", "wanted"),
    [
        ([[2.0, 1.0, 0.0]], [0], 0.407606),
        ([[0.8 / 0.05, 0.6 / 0.05, 0.2 / 0.05]], [0], 0.018156),
        ([[2.0, 0.0], [1.0, 2.0]], [0, 1], 0.220095),
    ],
)
def test_known_values(logits: list[list[float]], target: list[int], wanted: float) -> None:
    values = torch.tensor(logits)
    found = info_nce(values, torch.tensor(target), everything(*values.shape))
    assert found.item() == pytest.approx(wanted, abs=1e-6)


@given(SEEDS, st.integers(1, 5), st.integers(0, 9), st.sampled_from([0.1, 1.0, 20.0]))
def test_loss_and_gradient_are_those_of_the_definition(
    seed: int, rows: int, more: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, rows + more, generator=generator)
    allowed = torch.rand(logits.shape, generator=generator) < 0.6
    target = torch.randperm(rows + more, generator=generator)[:rows]
    found_at = logits.clone().requires_grad_()
    wanted_at = logits.double().requires_grad_()
    found = info_nce(found_at, target, allowed)
    wanted = loss_oracle(wanted_at, target.tolist(), allowed.tolist())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-5)
    found_gradient, wanted_gradient = gradient(found, found_at), gradient(wanted, wanted_at)
    assert torch.allclose(found_gradient.double(), wanted_gradient, atol=1e-5)
    out_of_play = ~allowed
    out_of_play[torch.arange(rows), target] = False
    assert (found_gradient[out_of_play] == 0).all()


def test_without_an_allowed_negative_there_is_nothing_to_learn() -> None:
    logits = torch.tensor([[3.0, 50.0], [-2.0, 9.0]], requires_grad=True)
    loss = info_nce(logits, torch.tensor([0, 0]), ~everything(2, 2))
    assert loss.item() == 0.0
    assert (gradient(loss, logits) == 0).all()


@pytest.mark.parametrize(("own", "other"), [(1e4, -1e4), (-1e4, 1e4), (1e4, 1e4), (-1e4, -1e4)])
def test_extreme_logits_stay_finite(own: float, other: float) -> None:
    logits = torch.full((3, 6), other)
    logits[:, 2] = own
    logits.requires_grad_()
    loss = info_nce(logits, torch.full((3,), 2), everything(3, 6))
    wanted = 0.0 if own > other else other - own + math.log(5 + (own == other))
    # neighbouring float32 numbers lie 0.001 apart at 1e4
    assert loss.item() == pytest.approx(wanted, abs=1e-3)
    assert torch.isfinite(gradient(loss, logits)).all()


def test_a_mask_hides_even_what_is_far_above_the_target() -> None:
    logits = torch.tensor([[-1e4, 1e4, -1e4, 1e4]], requires_grad=True)
    loss = info_nce(logits, torch.tensor([0]), torch.tensor([[False, False, True, False]]))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-3)
    found = gradient(loss, logits)[0].tolist()
    assert found == pytest.approx([-0.5, 0.0, 0.5, 0.0], abs=1e-3)
    assert found[1] == found[3] == 0.0


@pytest.mark.parametrize("negatives", [1, 7, 100])
@pytest.mark.parametrize("level", [-20.0, 0.0, 3.5])
def test_equal_logits_cost_the_logarithm_of_the_choices(negatives: int, level: float) -> None:
    allowed = everything(2, 120)
    allowed[:, negatives + 1 :] = False
    loss = info_nce(torch.full((2, 120), level), torch.tensor([0, 1]), allowed)
    assert loss.item() == pytest.approx(math.log(1 + negatives), abs=1e-5)


def test_half_precision_is_widened_before_the_loss() -> None:
    logits = (20 * torch.randn(4, 30, generator=torch.Generator().manual_seed(1))).bfloat16()
    wide = info_nce(logits.float(), torch.arange(4), everything(4, 30))
    logits.requires_grad_()
    narrow = info_nce(logits, torch.arange(4), everything(4, 30))
    assert narrow.dtype == torch.float32
    assert narrow.item() == wide.item()
    assert gradient(narrow, logits).dtype == torch.bfloat16


SPAN = 7
QUERIES = st.lists(st.sampled_from([0, 1, 2, 10**9]), min_size=1, max_size=5)
TEXTS = st.lists(st.integers(MISSING, SPAN - 2), min_size=1, max_size=14)
KNOWN = st.sets(st.tuples(st.sampled_from([0, 1, 2, 10**9]), st.integers(0, SPAN - 2)), max_size=12)


def known_tensor(pairs: set[tuple[int, int]], span: int = SPAN) -> Tensor:
    return torch.tensor(sorted(q * span + t for q, t in pairs), dtype=torch.int64)


def allowed_oracle(
    queries: list[int], docs: list[int], known: set[tuple[int, int]]
) -> list[list[bool]]:
    return [
        [
            doc != MISSING and (query, doc) not in known and doc not in docs[:at]
            for at, doc in enumerate(docs)
        ]
        for query in queries
    ]


@given(QUERIES, TEXTS, KNOWN)
def test_allowed_are_texts_that_are_there_new_and_no_known_positive(
    queries: list[int], docs: list[int], known: set[tuple[int, int]]
) -> None:
    found = allowed_columns(torch.tensor(queries), torch.tensor(docs), known_tensor(known), SPAN)
    assert found.dtype == torch.bool
    assert found.tolist() == allowed_oracle(queries, docs, known)


def test_a_missing_document_is_not_the_last_text_of_the_query_before() -> None:
    known = known_tensor({(0, SPAN - 2), (1, 0)})
    found = allowed_columns(torch.tensor([1]), torch.tensor([MISSING, SPAN - 2, 0]), known, SPAN)
    assert found.tolist() == [[False, True, False]]


@given(TEXTS)
def test_first_copies_are_the_columns_whose_text_is_new(docs: list[int]) -> None:
    wanted = [doc not in docs[:at] for at, doc in enumerate(docs)]
    assert first_copies(torch.tensor(docs)).tolist() == wanted


def test_first_copies_of_a_large_batch() -> None:
    docs = torch.randint(0, 50, (20_000,), generator=torch.Generator().manual_seed(0))
    _, places = np.unique(docs.numpy(), return_index=True)
    assert torch.nonzero(first_copies(docs)).flatten().tolist() == sorted(places.tolist())


class Lookup(nn.Module):
    """Stands for a model: a text's vector is a row of a table, whatever its length."""

    def __init__(self, rows: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(rows, 8, generator=generator).to(dtype))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.table[features["row"]]}


N_TEXTS = 12


def batch_loss(
    model: Lookup,
    labels: list[list[int]],
    known: set[tuple[int, int]],
    temperature: float = 0.05,
) -> Tensor:
    """InfoNCE of a batch whose texts are rows of the table: documents first, then queries."""
    values = torch.tensor(labels)
    rows = torch.where(values == MISSING, N_TEXTS - 1, values)
    rows[:, 0] = N_TEXTS + values[:, 0]
    loss = InfoNCE(
        model,
        known_tensor(known, N_TEXTS + 1),
        N_TEXTS + 1,
        temperature,
    )
    found: Tensor = loss([{"row": column} for column in rows.T], values)
    return found


def batch_oracle(
    table: Tensor, labels: list[list[int]], known: set[tuple[int, int]], temperature: float
) -> Tensor:
    unit = table.double() / table.double().norm(dim=1, keepdim=True)
    docs = [row[column] for column in range(1, len(labels[0])) for row in labels]
    queries = [row[0] for row in labels]
    logits = torch.stack(
        [torch.stack([unit[N_TEXTS + q] @ unit[d] for d in docs]) for q in queries]
    )
    allowed = allowed_oracle(queries, docs, known)
    return loss_oracle(logits / temperature, list(range(len(labels))), allowed)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[list[int]], set[tuple[int, int]]]:
    """Labels of a batch and the known positives, each row's own positive among them."""
    n = draw(st.integers(0, 3))
    row = st.tuples(
        st.integers(0, 3),
        st.integers(0, N_TEXTS - 2),
        *[st.integers(MISSING, N_TEXTS - 2)] * n,
    )
    labels = [list(r) for r in draw(st.lists(row, min_size=1, max_size=6))]
    other = draw(st.sets(st.tuples(st.integers(0, 3), st.integers(0, N_TEXTS - 2)), max_size=5))
    return labels, other | {(r[0], r[1]) for r in labels}


@given(batches(), SEEDS, st.sampled_from([0.05, 0.5, 1.0]))
def test_the_module_is_the_masked_loss_of_normalised_vectors(
    batch: tuple[list[list[int]], set[tuple[int, int]]], seed: int, temperature: float
) -> None:
    labels, known = batch
    model = Lookup(N_TEXTS + 4, seed=seed)
    found = batch_loss(model, labels, known, temperature)
    wanted = batch_oracle(model.table.detach(), labels, known, temperature)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-5)


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_the_batch_changes_nothing(
    batch: tuple[list[list[int]], set[tuple[int, int]]], random: Any
) -> None:
    labels, known = batch
    shuffled = random.sample(labels, len(labels))
    gradients = []
    losses = []
    for rows in (labels, shuffled):
        model = Lookup(N_TEXTS + 4)
        loss = batch_loss(model, rows, known)
        losses.append(loss.item())
        gradients.append(gradient(loss, model.table))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-4)


def test_a_missing_negative_pulls_at_no_vector() -> None:
    model = Lookup(N_TEXTS + 4)
    labels = [[0, 1, 2], [1, 3, MISSING]]
    loss = batch_loss(model, labels, {(0, 1), (1, 3)})
    touched = gradient(loss, model.table).abs().sum(dim=1) > 0
    assert torch.nonzero(touched).flatten().tolist() == [1, 2, 3, N_TEXTS, N_TEXTS + 1]


def test_autocast_does_not_coarsen_the_loss() -> None:
    labels, known = [[0, 1, 2], [1, 3, 4], [2, 5, 6]], {(0, 1), (1, 3), (2, 5)}
    plain = batch_loss(Lookup(N_TEXTS + 4), labels, known).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert batch_loss(Lookup(N_TEXTS + 4), labels, known).item() == plain


def test_half_precision_vectors_are_compared_in_float32() -> None:
    labels, known = [[0, 1, 2], [1, 3, 4], [2, 5, 6]], {(0, 1), (1, 3), (2, 5)}
    model = Lookup(N_TEXTS + 4, torch.bfloat16)
    found = batch_loss(model, labels, known)
    assert found.dtype == torch.float32
    wanted = batch_oracle(model.table.detach(), labels, known, 0.05)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_it_trains_in_a_plain_sentence_transformers_trainer(tmp_path: Path) -> None:
    import datasets
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    model = SentenceTransformer(str(tiny_model(tmp_path / "tiny", dropout=0.0)), device="cpu")
    pairs = 8
    columns: dict[str, list[Any]] = {
        "query": [f"w{i} w{i + 10}" for i in range(pairs)],
        "positive": [f"w{i + 20} w{i + 30}" for i in range(pairs)],
        "negative": [f"w{(i + 1) % pairs + 20} w{i + 40}" for i in range(pairs)],
        "label": [[i, i, pairs + i] for i in range(pairs)],
    }
    known = torch.tensor([i * (2 * pairs + 1) + i for i in range(pairs)])
    loss = InfoNCE(model, known, 2 * pairs + 1)

    def mean_rank() -> float:
        queries = model.encode(columns["query"], normalize_embeddings=True)
        documents = model.encode(
            columns["positive"] + columns["negative"], normalize_embeddings=True
        )
        scores = queries @ documents.T
        own = np.diagonal(scores)[:, None]
        return float((scores > own).sum(axis=1).mean())

    before = mean_rank()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / "out"),
            max_steps=25,
            per_device_train_batch_size=pairs,
            learning_rate=2e-3,
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_dict(columns),
        loss=loss,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.3 * losses[0]
    assert before > 2.0
    assert mean_rank() < 0.5

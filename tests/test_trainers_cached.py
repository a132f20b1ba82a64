"""The cached step: the gradients of the whole batch in the memory of a chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from loss_cases import LossBatch, make, random_batch
from loss_configs import SINGLE, SOFTMAX, WAYS, named
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from tiny_model import HIDDEN, tiny_model
from torch import Tensor

from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.loss_config import LossSection

Features = list[dict[str, Tensor]]
ROWS = 6
ALL_DIRECTIONS = WAYS[4]
LOSSES: list[dict[str, Any]] = [
    *({**config, **ALL_DIRECTIONS} for config in SOFTMAX),
    {"name": "dclr", "phi": 0.2, "noise": 1.0},
    {"name": "soft_info_nce", "source": "bm25_queries", "alpha": 0.6, "beta": 1.4},
    {"name": "soft_info_nce", "source": "bm25_documents", "alpha": 0.6, "beta": 1.4},
    *SINGLE,
]
CHUNKS = [{"mini_batch_size": size} for size in (1, 3, ROWS)]
CHUNKS += [{"mini_batch_num_tokens": budget} for budget in (1, 20)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[float, SentenceTransformer]:
    """The same weights, by dropout, in training mode."""
    found = {}
    for rate in (0.0, 0.1):
        path = tiny_model(tmp_path_factory.mktemp("model") / "tiny", dropout=rate)
        found[rate] = SentenceTransformer(str(path), device="cpu").train()
    return found


@pytest.fixture
def noisy(models: dict[float, SentenceTransformer]) -> SentenceTransformer:
    return models[0.1]


@pytest.fixture
def quiet(models: dict[float, SentenceTransformer]) -> SentenceTransformer:
    return models[0.0]


def features_of(model: SentenceTransformer, batch: LossBatch) -> Features:
    """Texts of one to five words, so that columns and chunks are padded differently."""

    def words(number: int, first: int) -> str:
        return " ".join(f"w{first + (number * (at + 2)) % 25}" for at in range(1 + number % 5))

    columns = [[words(q, 30) for q in batch.queries]]
    for at in range(1, len(batch.rows[0])):
        columns.append([words(row[at], 0) if row[at] >= 0 else "" for row in batch.rows])
    return [dict(model.tokenize(texts)) for texts in columns]


def fresh(features: Features) -> Features:
    """Modules may change the features in place."""
    return [
        {k: v.clone() for k, v in column.items() if isinstance(v, Tensor)} for column in features
    ]


def gradient(model: torch.nn.Module) -> Tensor:
    """All gradients in one vector; they are taken away."""
    parts = [
        torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
        for p in model.parameters()
    ]
    model.zero_grad()
    return torch.cat(parts).double()


def assert_same(found: Tensor, wanted: Tensor) -> None:
    assert wanted.norm() > 0
    assert ((found - wanted).norm() / wanted.norm()).item() < 1e-5


def ranges(column: dict[str, Tensor], chunk: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Begin and end of each chunk: so many texts, or as many as the budget of tokens holds."""
    lengths = column["attention_mask"].sum(dim=1).tolist()
    first = 0
    for at in range(1, len(lengths) + 1):
        if at < len(lengths):
            size = at - first
            if "mini_batch_size" in chunk and size < chunk["mini_batch_size"]:
                continue
            budget = chunk.get("mini_batch_num_tokens")
            if budget is not None and sum(lengths[first : at + 1]) <= budget:
                continue
        yield first, at
        first = at


def by_chunks(loss: ContrastiveLoss, features: Features, batch: LossBatch, chunk: Any) -> Tensor:
    """The loss of vectors that were embedded with gradient, chunk by chunk in the same order."""
    step = loss._step(features, batch.labels())
    reps = []
    for column in features:
        parts = []
        for begin, end in ranges(column, chunk):
            width = int(column["attention_mask"][begin:end].sum(dim=1).max())
            part = {k: v[begin:end, :width] for k, v in column.items()}
            parts.append(loss.model(part)["sentence_embedding"])
        reps.append(parts)
    return loss.calculate_loss(reps, step)


def every_loss_and_chunk() -> Iterator[Any]:
    """Quickly each loss with one chunk and one loss with each; the rest is slow."""
    for config in LOSSES:
        for chunk in CHUNKS:
            quick = config is LOSSES[0] or chunk is CHUNKS[1]
            marks = () if quick else pytest.mark.slow
            yield pytest.param(config, chunk, id=f"{named(config)}-{chunk}", marks=marks)


@pytest.mark.parametrize(("config", "chunk"), list(every_loss_and_chunk()))
def test_gradients_are_those_of_the_whole_batch_with_dropout_on(
    noisy: SentenceTransformer, config: dict[str, Any], chunk: dict[str, int]
) -> None:
    batch = random_batch(3, rows=ROWS, negatives=2)
    loss = make(noisy, LossSection(**config), batch.known, **chunk)
    features = features_of(noisy, batch)
    torch.manual_seed(5)
    wanted = by_chunks(loss, fresh(features), batch, chunk)
    torch.autograd.backward(wanted)
    wanted_gradient = gradient(noisy)
    torch.manual_seed(5)
    found = loss(fresh(features), batch.labels())
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    torch.manual_seed(6)  # what happens before the backward pass does not matter
    found.backward()
    assert_same(gradient(noisy), wanted_gradient)


@pytest.mark.parametrize("config", LOSSES, ids=named)
def test_without_dropout_they_are_those_of_the_ordinary_step(
    quiet: SentenceTransformer, config: dict[str, Any]
) -> None:
    batch = random_batch(3, rows=ROWS, negatives=2)
    section, features = LossSection(**config), features_of(quiet, batch)
    make(quiet, section, batch.known)(fresh(features), batch.labels()).backward()
    wanted = gradient(quiet)
    for chunk in (CHUNKS[0], CHUNKS[4]):
        make(quiet, section, batch.known, **chunk)(fresh(features), batch.labels()).backward()
        assert_same(gradient(quiet), wanted)


def test_dropout_is_on_in_these_tests(noisy: SentenceTransformer) -> None:
    batch = random_batch(3, rows=ROWS, negatives=2)
    loss = make(noisy, LossSection(), batch.known, mini_batch_size=2)
    features, values = features_of(noisy, batch), set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        values.add(loss(fresh(features), batch.labels()).item())
    assert len(values) == 2


def test_two_batches_before_one_backward_pass(noisy: SentenceTransformer) -> None:
    batches = [random_batch(seed, rows=ROWS, negatives=2) for seed in (3, 5)]
    loss = make(noisy, LossSection(), batches[0].known | batches[1].known, mini_batch_size=4)
    parts = []
    torch.manual_seed(5)
    for batch in batches:
        loss(features_of(noisy, batch), batch.labels()).backward()
        parts.append(gradient(noisy))
    torch.manual_seed(5)
    first, second = (loss(features_of(noisy, batch), batch.labels()) for batch in batches)
    (first / 2 + second).backward()
    assert_same(gradient(noisy), parts[0] / 2 + parts[1])


@pytest.mark.parametrize("config", LOSSES[:3], ids=named)
def test_matryoshka_wraps_both_kinds(quiet: SentenceTransformer, config: dict[str, Any]) -> None:
    batch = random_batch(3, rows=ROWS, negatives=2)
    section, features = LossSection(**{**config, "similarity": "cos"}), features_of(quiet, batch)
    dims, weights = [HIDDEN, 8], [1.0, 0.5]

    def run(**chunk: int) -> tuple[float, Tensor]:
        inner = make(quiet, section, batch.known, **chunk)
        loss = MatryoshkaLoss(quiet, inner, dims, matryoshka_weights=weights)(
            fresh(features), batch.labels()
        )
        loss.backward()
        return loss.item(), gradient(quiet)

    vectors = [quiet(column)["sentence_embedding"] for column in fresh(features)]
    inner = make(quiet, section, batch.known)
    step = inner._step(features, batch.labels())
    whole = [
        weight * inner.calculate_loss([[v[:, :dim]] for v in vectors], step)
        for dim, weight in zip(dims, weights, strict=True)
    ]
    torch.autograd.backward(torch.stack(whole).sum())
    wanted, value = gradient(quiet), torch.stack(whole).sum().item()
    for chunk in ({}, {"mini_batch_size": 2}, {"mini_batch_num_tokens": 20}):
        found, slope = run(**chunk)
        assert found == pytest.approx(value, rel=1e-5)
        assert_same(slope, wanted)


@pytest.mark.parametrize("config", LOSSES, ids=named)
def test_evaluation_has_the_same_value_and_no_graph(
    quiet: SentenceTransformer, config: dict[str, Any]
) -> None:
    batch = random_batch(3, rows=ROWS, negatives=2)
    section, features = LossSection(**config), features_of(quiet, batch)
    with torch.no_grad():
        found = make(quiet, section, batch.known, mini_batch_size=2)(
            fresh(features), batch.labels()
        )
        wanted = make(quiet, section, batch.known)(fresh(features), batch.labels())
    assert not found.requires_grad
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("chunk", CHUNKS, ids=str)
def test_no_forward_pass_sees_more_than_a_chunk(
    quiet: SentenceTransformer, chunk: dict[str, int]
) -> None:
    batch = random_batch(3, rows=ROWS, negatives=2)
    seen: list[tuple[int, int]] = []

    def record(_: Any, inputs: tuple[dict[str, Tensor]]) -> None:
        mask = inputs[0]["attention_mask"]
        seen.append((len(mask), int(mask.sum())))

    handle = quiet.register_forward_pre_hook(record)
    features = features_of(quiet, batch)
    loss = make(quiet, LossSection(), batch.known, **chunk)(features, batch.labels())
    once = len(seen)
    loss.backward()
    handle.remove()
    gradient(quiet)
    assert seen[once:] == seen[:once]
    assert sum(texts for texts, _ in seen[:once]) == 4 * ROWS
    for texts, tokens in seen:
        assert texts <= chunk.get("mini_batch_size", ROWS)
        assert texts == 1 or tokens <= chunk.get("mini_batch_num_tokens", 10**9)


def test_a_batch_in_which_no_row_counts_has_no_gradient(quiet: SentenceTransformer) -> None:
    nan = float("nan")
    batch = LossBatch([[0, 1, 2], [1, 3, 4]], teacher=[[nan, 1.0], [2.0, nan]])
    for chunk in ({}, {"mini_batch_size": 1}):
        loss = make(quiet, LossSection(name="kl"), batch.known, **chunk)
        found = loss(features_of(quiet, batch), batch.labels())
        found.backward()
        assert found.item() == 0.0
        assert gradient(quiet).norm() == 0

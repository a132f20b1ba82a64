from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pyrite.core.embeddings import Embeddings
from pyrite.core.errors import PyriteError
from pyrite.core.tables import Qrels
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_exact
from pyrite.trainers.loss_config import LossSection
from pyrite.trainers.query_lists import Judgements
from pyrite.trainers.query_side import QuerySideLoss

Pairs = set[tuple[int, int]]


def qrels_of(pairs: Pairs, queries: int) -> Qrels:
    rows = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return Qrels.build(rows[:, 0], rows[:, 1], np.ones(len(rows), dtype=np.int64), queries)


def judgements_of(
    positives: Pairs, query_texts: list[int], doc_texts: list[int], more: Pairs | None = None
) -> Judgements:
    known = qrels_of(positives | (more or set()), len(query_texts))
    hashes = [np.array(texts, dtype=np.uint64) for texts in (query_texts, doc_texts)]
    return Judgements.of(qrels_of(positives, len(query_texts)), known, hashes[0], hashes[1])


def loss_of(
    corpus: list[list[float]], judgements: Judgements, k: int, normalized: bool = True, **loss: Any
) -> QuerySideLoss:
    vectors = Embeddings.from_array(np.array(corpus, dtype=np.float32))
    index = open_exact(IndexConfig(), vectors, np.arange(len(vectors)))
    section = LossSection(name="lambda_rank", **loss)
    model: Any = nn.Identity()
    return QuerySideLoss(model, index, vectors, judgements, section, k, normalized)


def all_different(positives: Pairs, queries: int, docs: int) -> Judgements:
    return judgements_of(positives, [900 + q for q in range(queries)], list(range(docs)))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_worked_step(k: int) -> None:
    # scores 3, 2, 1 and the second is relevant; a shallower search does not see the third
    judgements = all_different({(0, 1)}, 1, 3)
    loss = loss_of([[3.0], [2.0], [1.0]], judgements, k, normalized=False, temperature=1.0)
    found = loss.of_queries(torch.ones(1, 1), torch.tensor([0]))
    first = 0.5 * math.log1p(math.e)
    assert found.item() == pytest.approx(0.354421 if k == 3 else first, abs=1e-6)


class World:
    """Random vectors, texts of which some are equal, and judgements of which some are extra."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.queries, self.docs = 5, 30
        self.doc_texts = draw.integers(0, 22, self.docs).tolist()
        # two of the queries may be a document's text
        self.query_texts = [*draw.integers(0, 22, 2).tolist(), 100, 101, 102]
        self.positives = {(q, int(draw.integers(self.docs))) for q in range(5) for _ in range(2)}
        self.more = {(int(draw.integers(5)), int(draw.integers(self.docs))) for _ in range(4)}
        self.corpus = draw.standard_normal((self.docs, 4)).round(2)
        self.vectors = draw.standard_normal((self.queries, 4))

    def judgements(self) -> Judgements:
        return judgements_of(self.positives, self.query_texts, self.doc_texts, self.more)

    def forbidden(self, query: int) -> set[int]:
        """Texts that are never negatives of the query."""
        known = {self.doc_texts[d] for q, d in self.positives | self.more if q == query}
        return known | {self.query_texts[query]}

    def negatives(self, query: int, found: list[int]) -> list[int]:
        seen, kept = set(), []
        for doc in found:
            text = self.doc_texts[doc]
            if text not in seen and text not in self.forbidden(query):
                kept.append(doc)
            seen.add(text)
        return kept

    def relevant(self, query: int) -> list[int]:
        return sorted(d for q, d in self.positives if q == query)


def step_oracle(
    world: World, rows: list[int], queries: Tensor, k: int, temperature: float, cut: int
) -> Tensor:
    """One step by loops over all documents and all pairs, float64."""
    losses = []
    for row, query in zip(rows, queries, strict=True):
        unit = query / query.square().sum().sqrt()
        scores = [(unit * torch.from_numpy(v)).sum() / temperature for v in world.corpus]
        order = sorted(range(world.docs), key=lambda d: (-scores[d].item(), d))[:k]
        positives, negatives = world.relevant(row), world.negatives(row, order)
        if not negatives:
            continue
        listed = sorted(positives + negatives, key=lambda d: -scores[d].item())
        gain = {d: 1 / r if r <= cut else 0.0 for r, d in enumerate(listed, start=1)}
        costs = [
            abs(gain[p] - gain[n]) * torch.log1p(torch.exp(scores[n] - scores[p]))
            for p in positives
            for n in negatives
        ]
        losses.append(torch.stack(costs).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("seed", range(8))
def test_a_step_is_that_of_loops_over_all_documents(seed: int) -> None:
    world = World(seed)
    k, cut, temperature = (4, 30, 12)[seed % 3], (3, 200)[seed % 2], 0.5
    loss = loss_of(world.corpus.tolist(), world.judgements(), k, temperature=temperature, cut=cut)
    rows = [3, 0, 1, 4]
    queries = torch.from_numpy(world.vectors[rows]).float().requires_grad_()
    found = loss.of_queries(queries, torch.tensor(rows))
    found.backward()  # type: ignore[no-untyped-call]
    exact = torch.from_numpy(world.vectors[rows]).requires_grad_()
    wanted = step_oracle(world, rows, exact, k, temperature, cut)
    wanted.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert queries.grad is not None
    assert exact.grad is not None
    assert torch.allclose(queries.grad.double(), exact.grad, atol=1e-5)
    assert loss.search_seconds > 0


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_what_is_known_is_never_a_negative(seed: int, k: int) -> None:
    world = World(seed)
    draw = np.random.default_rng(seed)
    rows = draw.permutation(5)[:3]
    found = np.stack([draw.permutation(world.docs)[:k] for _ in rows])
    lists = world.judgements().lists(rows, found)
    for at, row in enumerate(rows.tolist()):
        docs, relevant = lists.docs_BL[at], lists.relevant_BL[at]
        assert docs[relevant].tolist() == world.relevant(row)
        kept = docs[~relevant & (docs >= 0)].tolist()
        assert kept == world.negatives(row, found[at].tolist())
        assert not {world.doc_texts[d] for d in kept} & world.forbidden(row)


def test_a_query_without_negatives_is_left_out_and_counted() -> None:
    everything = {(0, 0), (0, 1), (1, 0)}
    loss = loss_of([[1.0, 0.0], [0.6, 0.8]], all_different(everything, 2, 2), 2, temperature=1.0)
    queries = torch.tensor([[0.0, 1.0], [0.0, 1.0]], requires_grad=True)
    alone = loss.of_queries(queries[:1], torch.tensor([0]))
    alone.backward()  # type: ignore[no-untyped-call]
    assert alone.item() == 0.0
    assert queries.grad is not None
    assert queries.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert loss.unranked == 1
    both = loss.of_queries(queries, torch.tensor([0, 1]))
    # one pair: the places are exchanged, 1 / 1 - 1 / 2
    assert both.item() == pytest.approx(0.5 * math.log1p(math.exp(0.8)), abs=1e-6)
    assert loss.unranked == 2


def test_searching_deeper_than_the_corpus_is_refused() -> None:
    judgements = all_different({(0, 1)}, 1, 3)
    with pytest.raises(PyriteError, match=r"train\.neg_topk=4.* 3 documents.*at most 3"):
        loss_of([[3.0], [2.0], [1.0]], judgements, 4)

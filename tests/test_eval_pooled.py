"""A pooled part of the corpus: which documents, what is measured there, and how orders agree."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fakes import BagOfWords, toy_dataset, write_dataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyrite.core.beir import open_beir
from pyrite.core.embeddings import Embeddings, encode_in_memory
from pyrite.core.ids import I64
from pyrite.core.tables import Qrels
from pyrite.eval.in_memory import evaluate_in_memory
from pyrite.eval.pooled import kendall_tau, pool_of

LISTS = hnp.arrays(
    np.int64, st.tuples(st.integers(0, 4), st.integers(0, 3)), elements=st.integers(-1, 9)
)
JUDGED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 2)))


def qrels_of(judged: list[tuple[int, int, int]]) -> Qrels:
    queries, docs, grades = np.array(judged, dtype=np.int64).reshape(-1, 3).T
    return Qrels.build(queries, docs, grades, n_queries=4)


@given(JUDGED, st.lists(LISTS, max_size=3))
def test_the_pool_is_what_plain_loops_collect(
    judged: list[tuple[int, int, int]], rankings: list[I64]
) -> None:
    wanted = {doc for _, doc, _ in judged}
    for ranking in rankings:
        for ranked in ranking.tolist():
            for doc in ranked:
                if doc >= 0:
                    wanted.add(doc)
    assert pool_of(qrels_of(judged), rankings).tolist() == sorted(wanted)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=8),
)
def test_tau_counts_pairs_in_order_against_pairs_out_of_it(values: list[tuple[int, int]]) -> None:
    one, other = ([float(v) for v in column] for column in zip(*values, strict=True))
    agreed = tied_one = tied_other = pairs = 0
    for (a, b), (c, d) in itertools.combinations(zip(one, other, strict=True), 2):
        agreed += int(np.sign(a - c) * np.sign(b - d))
        tied_one += a == c
        tied_other += b == d
        pairs += 1
    scale = ((pairs - tied_one) * (pairs - tied_other)) ** 0.5
    wanted = agreed / scale if scale else None
    assert kendall_tau(one, other) == (None if wanted is None else pytest.approx(wanted))


def test_tau_by_hand() -> None:
    # of six pairs one is the other way round: (5 - 1) / 6
    assert kendall_tau([0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.2, 0.4]) == pytest.approx(4 / 6)
    assert kendall_tau([0.1, 0.2], [0.3, 0.1]) == -1
    assert kendall_tau([0.1], [0.1]) is None
    assert kendall_tau([], []) is None
    assert kendall_tau([0.1, 0.1], [0.1, 0.2]) is None


@pytest.mark.parametrize("given_vectors", [False, True])
def test_a_measure_in_a_pool_ranks_its_documents_alone(tmp_path: Path, given_vectors: bool) -> None:
    dataset = open_beir(toy_dataset(tmp_path / "toy"), tmp_path / "cache")
    qrels = dataset.qrels("test")
    rows, pool = qrels.with_positives(), np.arange(1, len(dataset.corpus), 3)
    encoder = BagOfWords()
    frozen = encode_in_memory(encoder, dataset.corpus, "document", 64) if given_vectors else None
    before = encoder.encoded
    found = evaluate_in_memory(encoder, dataset, qrels, rows, ("mrr@10",), 64, frozen, pool)
    assert encoder.encoded - before == rows.size + (0 if given_vectors else pool.size)
    queries = encode_in_memory(encoder, dataset.queries, "query", 64, rows)
    assert found.values["mrr@10"].tolist() == [
        reciprocal_rank(encoder, dataset.corpus.texts(pool), vector, wanted)
        for vector, wanted in zip(
            queries.take(np.arange(rows.size)),
            (np.isin(pool, qrels.positives(int(row))) for row in rows),
            strict=True,
        )
    ]
    everything = np.arange(len(dataset.corpus))
    whole, same = (
        evaluate_in_memory(encoder, dataset, qrels, rows, ("mrr@10",), 64, frozen, part)
        for part in (None, everything)
    )
    assert whole.values["mrr@10"].tolist() == same.values["mrr@10"].tolist()


@pytest.mark.parametrize("pooled", [False, True])
def test_the_query_s_own_id_is_taken_out_as_an_evaluation_takes_it_out(
    tmp_path: Path, pooled: bool
) -> None:
    texts = {f"{name}{i}": f"w{i} w{i + 1}" for i in range(6) for name in "ab"}
    asked = {f"a{i}": texts[f"a{i}"] for i in range(6)}
    judged = [(f"a{i}", f"b{i}", 1) for i in range(6)]
    dataset = open_beir(write_dataset(tmp_path / "own", texts, asked, {"test": judged}), tmp_path)
    qrels = dataset.qrels("test")
    pool = np.arange(len(dataset.corpus)) if pooled else None
    kept, dropped = (
        evaluate_in_memory(
            *(BagOfWords(), dataset, qrels, qrels.with_positives(), ("mrr@3",), 64, None, pool),
            drop_identical=drop,
        )
        for drop in (False, True)
    )
    # a query and its document have the same text, and their twin comes next
    assert kept.values["mrr@3"].tolist() == [0.5] * 6
    assert dropped.values["mrr@3"].tolist() == [1.0] * 6


def reciprocal_rank(
    encoder: BagOfWords, texts: list[str], query: np.ndarray, wanted: np.ndarray
) -> float:
    documents = Embeddings.from_array(encoder.encode_documents(texts)).take(np.arange(len(texts)))
    scores = (documents.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    # the toy's ids ascend with its rows
    order = np.lexsort((np.arange(scores.size), -scores))[:10]
    hits = np.flatnonzero(wanted[order])
    return float(1 / (1 + hits[0])) if hits.size else 0.0

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pyrite.core.embeddings import Embeddings
from pyrite.core.ids import I64
from pyrite.indexes.config import IndexConfig
from pyrite.indexes.dense import open_exact
from pyrite.miner.partial import PartialReport, cheap_vectors
from pyrite.miner.partial_choice import border_weights, borders, random_order
from pyrite.miner.partial_config import PartialSection
from pyrite.miner.partial_overlap import estimate_overlap

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
DEPTH = 20
KINDS = ("queries", "map", "choose")


def unit(vectors: npt.NDArray[np.floating]) -> F32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def cloud(rows: int, seed: int, dimension: int = 16) -> F32:
    """Vectors around a few centres, as texts have topics."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((8, dimension))
    noise = generator.standard_normal((rows, dimension))
    return unit(centers[generator.integers(0, 8, rows)] + 0.8 * noise)


def rotated(vectors: F32) -> F32:
    generator = np.random.default_rng(5)
    half = 0.04 * generator.standard_normal((vectors.shape[1],) * 2)
    skew, eye = half - half.T, np.eye(vectors.shape[1])
    # Cayley: near the identity, unlike the Q of a QR decomposition
    return unit(vectors @ np.linalg.solve(eye + skew, eye - skew))


def bent(vectors: F32) -> F32:
    """A drift that no linear map gives back, and some that no map does."""
    generator = np.random.default_rng(6)
    weights = generator.standard_normal((vectors.shape[1],) * 2)
    curved = 0.5 * np.tanh(3.0 * vectors @ weights) / np.sqrt(vectors.shape[1])
    own = 0.05 * np.sin(1e4 * vectors)
    return unit(rotated(vectors) + curved + own)


class Encoder:
    """Gives true vectors, and remembers for which rows."""

    def __init__(self, fresh: F32) -> None:
        self.fresh = fresh
        self.rows: list[int] = []

    def __call__(self, rows: I64) -> F32:
        self.rows += rows.tolist()
        return self.fresh[rows]


def plain_top(queries: F32, documents: F32, depth: int) -> list[set[int]]:
    scores = queries @ documents.T
    return [set(np.argsort(-row, kind="stable")[:depth].tolist()) for row in scores]


def plain_overlap(queries: F32, ours: F32, true: F32, depth: int) -> float:
    pairs = zip(plain_top(queries, ours, depth), plain_top(queries, true, depth), strict=True)
    return float(np.mean([len(a & b) / depth for a, b in pairs]))


def run(
    stale: F32, fresh: F32, queries: F32, seed: int = 0, **options: object
) -> tuple[F32, PartialReport, Encoder]:
    unread = {"map": "probe", "queries": "landmarks"}.get(str(options.get("kind")))
    given = {key: value for key, value in options.items() if key != unread}
    config = PartialSection.model_validate({"kind": "choose", "depth": DEPTH, **given})
    encoder = Encoder(fresh)
    found, report = cheap_vectors(
        Embeddings.from_array(stale), encoder, queries, np.arange(len(stale)), config, seed
    )
    return found, report, encoder


@pytest.mark.parametrize("landmarks", [0, 100])
@pytest.mark.parametrize("kind", ["map", "choose"])
def test_a_linear_drift_is_recovered(kind: str, landmarks: int) -> None:
    stale, queries = cloud(600, 0), rotated(cloud(80, 1))
    fresh = rotated(stale)
    found, report, _ = run(stale, fresh, queries, kind=kind, landmarks=landmarks)
    least = 0.97 if landmarks == 0 else 0.85
    assert plain_overlap(queries, found, fresh, DEPTH) > least
    assert report.overlap is not None
    assert report.overlap > least - 0.1
    assert plain_overlap(queries, stale, fresh, DEPTH) < 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_drift_everything_is_found(kind: str) -> None:
    stale, queries = cloud(300, 0), cloud(40, 1)
    found, report, _ = run(stale, stale, queries, kind=kind)
    assert report.overlap == pytest.approx(1.0, abs=1e-9)
    assert report.stale_error == 0.0
    np.testing.assert_allclose(found, stale, atol=1e-6)


@pytest.mark.parametrize(("kind", "encoded"), [("queries", 40), ("map", 80), ("choose", 80)])
def test_the_budget_is_kept_and_no_document_is_encoded_twice(kind: str, encoded: int) -> None:
    stale, queries = cloud(400, 0), bent(cloud(60, 1))
    found, report, encoder = run(
        stale, bent(stale), queries, kind=kind, share=0.2, probe=0.25 if kind == "choose" else 0.5
    )
    assert report.encoded == len(encoder.rows) == len(set(encoder.rows)) == encoded
    rows = np.array(encoder.rows)
    expected = stale if kind == "queries" else bent(stale)
    np.testing.assert_array_equal(found[rows], expected[rows])


def test_the_ladder_climbs() -> None:
    stale, queries = cloud(800, 0), bent(cloud(30, 1))
    fresh = bent(stale)
    found = {}
    for kind in KINDS:
        ours, _, _ = run(stale, fresh, queries, kind=kind, landmarks=0)
        found[kind] = plain_overlap(queries, ours, fresh, DEPTH)
    assert found["queries"] + 0.1 < found["map"] < found["choose"] - 0.01, found


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_near_the_truth(kind: str) -> None:
    stale, queries = cloud(1000, 0), bent(cloud(100, 1))
    fresh = bent(stale)
    gaps = []
    for seed in range(3):
        ours, report, _ = run(
            stale, fresh, queries, seed, kind=kind, probe=0.5, landmarks=0, sample_queries=200
        )
        assert report.overlap is not None
        gaps.append(report.overlap - plain_overlap(queries, ours, fresh, DEPTH))
    assert abs(np.mean(gaps)) < 0.03, gaps


def test_few_queries_reach_few_documents_and_those_are_exact() -> None:
    stale, queries = cloud(1000, 0), bent(cloud(4, 1))
    fresh = bent(stale)
    found, report, _ = run(stale, fresh, queries, depth=5, share=0.25)
    assert plain_overlap(queries, found, fresh, 5) == 1.0
    assert report.encoded <= 250


def test_the_order_of_the_rows_decides_nothing() -> None:
    stale, queries = cloud(300, 0), bent(cloud(30, 1))
    fresh = bent(stale)
    config = PartialSection(kind="choose", depth=DEPTH)
    order = np.random.default_rng(3).permutation(300)
    ranks = (np.arange(300), order)
    results = []
    for rank in ranks:
        encoder = Encoder(fresh[rank])
        vectors = Embeddings.from_array(stale[rank])
        results.append(cheap_vectors(vectors, encoder, queries, rank, config, 0))
    (plain, first), (mixed, second) = results
    np.testing.assert_array_equal(plain[order], mixed)
    assert first == second


def test_generations_draw_other_documents() -> None:
    drawn = [set(random_order(1000, 0, generation)[:100].tolist()) for generation in range(3)]
    assert drawn[0] != drawn[1] != drawn[2]
    assert sorted(random_order(1000, 7, 1).tolist()) == list(range(1000))


def test_a_shortfall_asks_for_a_full_refresh_and_says_so() -> None:
    stale, queries = cloud(400, 0), bent(cloud(60, 1))
    _, report, _ = run(stale, bent(stale), queries, kind="queries", min_overlap=0.99)
    assert report.full
    assert "refresh.partial.min_overlap=0.99" in report.message
    _, report, _ = run(stale, bent(stale), queries, kind="queries", min_overlap=0.01)
    assert not report.full
    assert report.message == ""


def plain_weights(queries: F32, documents: F32, depth: int, error: float, width: int) -> F64:
    out = np.zeros(len(documents))
    for query in queries:
        scores = (documents @ query).astype(np.float64)
        order = np.argsort(-scores)[:width]
        border = (scores[order[depth - 1]] + scores[order[depth]]) / 2
        for row in order:
            gap = abs(scores[row] - border) / error
            out[row] += np.exp(-gap * gap / 2) if gap <= 4.0 else 0.0
    return out


@pytest.mark.parametrize("width", [25, 70])
def test_border_weights_are_those_of_plain_loops(width: int) -> None:
    documents, queries = cloud(70, 0), cloud(11, 1)
    index = open_exact(IndexConfig(), Embeddings.from_array(documents), np.arange(70))
    found = border_weights(index, queries, DEPTH, 0.05, width)
    np.testing.assert_allclose(
        found, plain_weights(queries, documents, DEPTH, 0.05, width), atol=1e-4
    )


def test_a_corpus_within_the_depth_has_no_border() -> None:
    documents = cloud(DEPTH, 0)
    index = open_exact(IndexConfig(), Embeddings.from_array(documents), np.arange(DEPTH))
    assert not border_weights(index, cloud(3, 1), DEPTH, 0.05, 50).any()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), weight=st.sampled_from([1.0, 3.5]))
def test_the_estimate_counts_what_is_on_the_wrong_side(seed: int, weight: float) -> None:
    true, queries = cloud(60, seed), cloud(7, seed + 1)
    ours = unit(true + 0.2 * cloud(60, seed + 2))
    edges = np.linspace(-0.2, 0.9, 7)
    expected = []
    for query, edge in zip(queries, edges, strict=True):
        scores = [(float(a @ query), float(b @ query)) for a, b in zip(true, ours, strict=True)]
        nearest = sorted(scores, key=lambda pair: -sum(pair))[:8]
        moved = sum(a - b for a, b in nearest) / 8
        wrong = sum((a >= edge + moved) != (b >= edge) for a, b in scores)
        expected.append(1.0 - weight * wrong / (2 * DEPTH))
    found = estimate_overlap(true, ours, weight, queries, edges, DEPTH)
    assert found.tolist() == pytest.approx(expected)


def test_a_large_sample_is_scored_for_a_few_queries_at_a_time() -> None:
    true, queries, edges = cloud(40_000, 3), cloud(150, 4), np.full(150, 0.5)
    tracemalloc.start()
    try:
        found = estimate_overlap(true, true, 1.0, queries, edges, DEPTH)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.tolist() == [1.0] * 150
    # all scores of both kinds, and an order of each
    assert peak < 150 * 40_000 * (4 + 4 + 8)


def test_borders_lie_between_two_ranks() -> None:
    documents, queries = cloud(70, 0), cloud(11, 1)
    index = open_exact(IndexConfig(), Embeddings.from_array(documents), np.arange(70))
    for query, edge in zip(queries, borders(index, queries, DEPTH), strict=True):
        scores = np.sort(documents @ query)[::-1]
        assert scores[DEPTH - 1] > edge > scores[DEPTH]
    assert np.isneginf(borders(index, queries, 70)).all()


def invalid(**options: object) -> Callable[[], PartialSection]:
    return lambda: PartialSection.model_validate(options)


@pytest.mark.parametrize(
    "make",
    [invalid(share=0.5), invalid(kind="map", share=0.0), invalid(kind="map", share=1.0)],
)
def test_what_would_do_nothing_is_refused(make: Callable[[], PartialSection]) -> None:
    with pytest.raises(ValidationError):
        make()

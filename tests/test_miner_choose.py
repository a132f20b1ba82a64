from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampler_setup import fitting

from pyrite.core.candidates import Candidates, Negatives, Reason
from pyrite.core.digest import u64_array
from pyrite.core.embeddings import Embeddings
from pyrite.core.ids import IdIndex
from pyrite.core.rng import combine, gumbel, stream
from pyrite.core.tables import Qrels
from pyrite.core.text import normalise
from pyrite.miner.choose import Context, choose, reasons_of
from pyrite.miner.clusters import Clusters, nearest_clusters
from pyrite.miner.draw import first_draw_probability
from pyrite.miner.filters import FilterConfig, score_reasons
from pyrite.miner.popularity import owner_counts
from pyrite.miner.samplers import SAMPLERS, SamplerConfig, Scored, log_weights
from pyrite.miner.vectors import Vectors

I64 = npt.NDArray[np.int64]
DOCUMENTS, QUERIES, DEPTH = 24, 6, 16
# three spellings of each text are one text to the miner
SPELLINGS = ("the text {}", "The  TEXT {}", "\uff34he text\u3000{}")


@dataclass(frozen=True)
class World:
    """A small corpus with copied texts, tied scores and short rows."""

    doc_ids: list[str]
    doc_texts: list[str]
    query_texts: list[str]
    positives: list[set[int]]
    candidates: Candidates
    pos_scores: npt.NDArray[np.float32]
    context: Context


def world(seed: int, order: I64 | None = None) -> World:
    """The world of a seed; `order` shuffles the rows of its corpus file and nothing else."""
    generator = np.random.default_rng(seed)
    order = np.arange(DOCUMENTS) if order is None else order
    text = [
        SPELLINGS[generator.integers(3)].format(generator.integers(18)) for _ in range(DOCUMENTS)
    ]
    asked = [f"the text {generator.integers(18)}" for _ in range(QUERIES)]
    judged = [generator.choice(DOCUMENTS, generator.integers(1, 4), False) for _ in range(QUERIES)]
    scores = (generator.integers(-6, 7, (QUERIES, DOCUMENTS)) / 8).astype(np.float32)
    lengths = generator.integers(0, DEPTH + 1, QUERIES)
    names = [f"d{i}" for i in range(DOCUMENTS)]

    place = np.argsort(order)  # the row of each document
    ids = [names[i] for i in order]
    texts = [text[i] for i in order]
    rank = IdIndex.build(ids, "corpus").rank_N
    rows = np.full((QUERIES, DEPTH), -1, dtype=np.int64)
    found = np.full((QUERIES, DEPTH), -np.inf, dtype=np.float32)
    for q in range(QUERIES):
        best = sorted(range(DOCUMENTS), key=lambda d: (-scores[q, d], names[d]))[: lengths[q]]
        rows[q, : len(best)] = place[best]
        found[q, : len(best)] = scores[q, best]
    candidates = Candidates.of_one(np.arange(QUERIES), rows, found, "dense", 3)
    candidates.check()
    pairs = [(q, int(place[d])) for q in range(QUERIES) for d in judged[q]]
    query, doc = np.array(pairs, dtype=np.int64).T
    vectors = np.random.default_rng(seed + 1000).integers(-2, 3, (DOCUMENTS + QUERIES, 3)) / 2
    corpus = vectors[order].astype(np.float32)
    clusters = Clusters(np.eye(3, dtype=np.float32), np.zeros(0, dtype=np.int32), True)
    assign = nearest_clusters(clusters, corpus, 1)[:, 0].astype(np.int32)
    context = Context(
        Qrels.build(query, doc, np.ones_like(doc), QUERIES),
        u64_array([normalise(t) for t in asked]),
        u64_array([normalise(t) for t in texts]),
        u64_array([f"q{i}" for i in range(QUERIES)]),
        u64_array(ids),
        rank,
        clusters=replace(clusters, assign=assign),
        vectors=Vectors(
            Embeddings.from_array(corpus),
            Embeddings.from_array(vectors[DOCUMENTS:].astype(np.float32)),
            np.arange(QUERIES),
        ),
    )
    pos = np.array([min(scores[q, d] for d in judged[q]) for q in range(QUERIES)], np.float32)
    positives = [{int(place[d]) for d in docs} for docs in judged]
    return World(ids, texts, asked, positives, candidates, pos, context)


def run(
    w: World, filters: FilterConfig, sampler: SamplerConfig, seed: int, rows: I64 | None = None
) -> Negatives:
    rows = np.arange(QUERIES) if rows is None else rows
    source = w.candidates
    part = Candidates(
        source.query_rows[rows],
        source.ids[rows],
        source.scores[rows],
        source.source[rows],
        source.source_rank[rows],
        source.sources,
        source.generation,
    )
    reasons = reasons_of(part, w.pos_scores[rows], w.context, filters)
    return choose(part, reasons, w.pos_scores[rows], w.context, sampler, seed)


def same(left: Negatives, right: Negatives, rows: I64) -> bool:
    """`right` is `left` with its rows picked."""
    names = ("query_rows", "ids", "scores", "ranks", "source", "probabilities", "tiers")
    return all(np.array_equal(getattr(left, n)[rows], getattr(right, n)) for n in names)


FILTERS = st.builds(
    FilterConfig,
    margin=st.none() | st.sampled_from([0.0, 0.125, 0.5]),
    percent=st.none() | st.sampled_from([0.5, 0.95]),
    max_score=st.none() | st.sampled_from([0.0, 0.5]),
    ties=st.sampled_from(["drop", "keep"]),
    cluster_false_negatives=st.booleans(),
)
WINDOWS = st.sampled_from([(0, 4), (1, 6), (3, 100)])
SETTINGS = st.builds(
    lambda name, n, a, window, cluster: SamplerConfig(
        cluster="any" if name == "random" else cluster,
        **fitting(
            name=name,
            n=n,
            a=a,
            window_min=window[0],
            window_max=window[1],
            k_hard=max(n, 9),
            c_hard=max(n, 4),
            k_share=0.5,
            mult=2,
        ),
    ),
    st.sampled_from(sorted(SAMPLERS)),
    st.sampled_from([1, 3, 10, 30]),
    st.sampled_from([0.0, 0.5]),
    WINDOWS,
    st.sampled_from(["any", "any", "second_nearest"]),
)
# the others have plain loops of their own
PLAIN = SETTINGS.filter(lambda s: s.name != "saha" and s.cluster == "any")
SEEDS = st.integers(0, 400)


@given(SEEDS, FILTERS, SETTINGS)
def test_no_negative_is_a_positive_a_copy_or_drawn_twice(
    seed: int, filters: FilterConfig, sampler: SamplerConfig
) -> None:
    w = world(seed)
    found = run(w, filters, sampler, seed)
    assert found.ids.shape == (QUERIES, sampler.n)
    for q, row in enumerate(found.ids.tolist()):
        ids = [d for d in row if d != -1]
        assert row == ids + [-1] * (sampler.n - len(ids))
        assert len(ids) == found.counts()[q]
        assert not set(ids) & w.positives[q]
        taken = {normalise(w.doc_texts[d]) for d in w.positives[q]}
        taken.add(normalise(w.query_texts[q]))
        texts = [normalise(w.doc_texts[d]) for d in ids]
        assert not set(texts) & taken
        assert len(set(texts)) == len(texts)


@given(SEEDS, FILTERS, PLAIN)
def test_choosing_equals_a_plain_loop(
    seed: int, filters: FilterConfig, sampler: SamplerConfig
) -> None:
    w = world(seed)
    c = w.candidates
    reasons = reasons_of(c, w.pos_scores, w.context, filters)
    owners = owner_counts(c.ids, w.context.qrels)
    view = Scored(c.scores, reasons, w.pos_scores, owners, documents=DOCUMENTS)
    weights = log_weights(view, sampler)
    chances = first_draw_probability(weights)
    found = run(w, filters, sampler, seed)
    for q in range(QUERIES):
        root = combine(stream(seed, c.generation), w.context.query_ids_Q[q])
        keys = {}
        for column, doc in enumerate(c.ids[q].tolist()):
            if reasons[q, column] == 0 and np.isfinite(weights[q, column]):
                noise = gumbel(combine(root, w.context.doc_ids_N[doc]))
                keys[column] = float(weights[q, column]) + float(noise)
        best = sorted(keys, key=lambda k: -keys[k])[: sampler.n]
        count = len(best)
        assert found.ids[q, :count].tolist() == c.ids[q, best].tolist()
        assert found.scores[q, :count].tolist() == c.scores[q, best].tolist()
        assert found.ranks[q, :count].tolist() == [k + 1 for k in best]
        assert found.probabilities[q, :count].tolist() == chances[q, best].tolist()
        assert (found.ids[q, count:] == -1).all()
        assert np.isneginf(found.scores[q, count:]).all()
        assert not found.ranks[q, count:].any()
        assert not found.probabilities[q, count:].any()


@given(SEEDS, FILTERS, SETTINGS, st.permutations(range(QUERIES)), st.integers(1, QUERIES))
def test_neither_query_order_nor_blocks_change_a_draw(
    seed: int, filters: FilterConfig, sampler: SamplerConfig, order: list[int], size: int
) -> None:
    w = world(seed)
    whole = run(w, filters, sampler, seed)
    assert same(whole, run(w, filters, sampler, seed), np.arange(QUERIES))
    for start in range(0, QUERIES, size):
        rows = np.array(order[start : start + size])
        assert same(whole, run(w, filters, sampler, seed, rows), rows)


@given(SEEDS, FILTERS, SETTINGS, st.permutations(range(DOCUMENTS)))
def test_the_order_of_the_corpus_file_changes_no_draw(
    seed: int, filters: FilterConfig, sampler: SamplerConfig, order: list[int]
) -> None:
    def names(w: World) -> list[list[str]]:
        rows = run(w, filters, sampler, seed).ids.tolist()
        return [[w.doc_ids[d] for d in row if d != -1] for row in rows]

    assert names(world(seed, np.array(order))) == names(world(seed))


@given(SEEDS, FILTERS)
def test_reasons_are_structural_or_score_reasons(seed: int, filters: FilterConfig) -> None:
    w = world(seed)
    without = reasons_of(w.candidates, w.pos_scores, w.context, FilterConfig())
    scored = score_reasons(w.candidates.scores, w.pos_scores, filters)
    both = reasons_of(w.candidates, w.pos_scores, w.context, filters)
    likely = np.uint16(Reason.CLUSTER_FALSE_NEGATIVE)
    assert np.array_equal(both & ~likely, without | scored)
    assert filters.cluster_false_negatives or not (both & likely).any()


@given(SEEDS, st.integers(1, 30))
def test_topk_takes_the_first_survivors_in_rank_order(seed: int, n: int) -> None:
    w = world(seed)
    reasons = reasons_of(w.candidates, w.pos_scores, w.context, FilterConfig(percent=0.95))
    found = run(w, FilterConfig(percent=0.95), SamplerConfig(name="topk", n=n), seed)
    for q in range(QUERIES):
        survivors = w.candidates.ids[q][reasons[q] == 0][:n].tolist()
        assert found.ids[q, : len(survivors)].tolist() == survivors
        assert found.counts()[q] == len(survivors)


@given(SEEDS, st.sampled_from(["random", "simans", "topk"]))
def test_enough_negatives_means_every_survivor(seed: int, name: str) -> None:
    w = world(seed)
    reasons = reasons_of(w.candidates, w.pos_scores, w.context, FilterConfig())
    found = run(w, FilterConfig(), SamplerConfig.model_validate({"name": name, "n": DEPTH}), seed)
    for q in range(QUERIES):
        survivors = set(w.candidates.ids[q][reasons[q] == 0].tolist())
        assert set(found.ids[q].tolist()) - {-1} == survivors


def test_equal_noise_is_settled_by_document_id() -> None:
    w = world(4, np.random.default_rng(4).permutation(DOCUMENTS))
    collided = replace(w.context, doc_ids_N=np.zeros_like(w.context.doc_ids_N))
    found = run(replace(w, context=collided), FilterConfig(), SamplerConfig(name="random", n=9), 0)
    names = [[w.doc_ids[d] for d in row if d != -1] for row in found.ids.tolist()]
    assert max(map(len, names)) > 4
    assert names == [sorted(row) for row in names]


def test_a_random_source_has_no_ranks() -> None:
    w = world(1)
    unranked = np.zeros_like(w.candidates.source_rank)
    random = replace(w, candidates=replace(w.candidates, source_rank=unranked, sources=("random",)))
    sampler = SamplerConfig(name="random", n=5)
    found = run(random, FilterConfig(), sampler, 0)
    assert found.counts().sum() > 0
    assert not found.ranks.any()
    assert found.sources == ("random",)
    assert run(w, FilterConfig(), sampler, 0).ranks.any()


def test_provenance_is_handed_on() -> None:
    w = world(2)
    found = run(w, FilterConfig(), SamplerConfig(name="topk", n=2), 0)
    assert (found.sources, found.generation) == (("dense",), 3)
    assert np.array_equal(found.pos_scores, w.pos_scores)
    assert not found.tiers.any()
    assert [found.ids.dtype, found.scores.dtype, found.ranks.dtype] == ["i8", "f4", "i4"]


@pytest.mark.parametrize(("seed", "generation"), [(1, 3), (0, 4)])
def test_another_seed_or_generation_draws_again(seed: int, generation: int) -> None:
    w = world(3)
    sampler = SamplerConfig(name="random", n=3)
    other = replace(w, candidates=replace(w.candidates, generation=generation))
    first = run(w, FilterConfig(), sampler, 0)
    assert not np.array_equal(first.ids, run(other, FilterConfig(), sampler, seed).ids)

"""Mixes and fall-backs against a plain loop over queries, parts and documents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampler_setup import fitting
from test_miner_choose import DOCUMENTS, FILTERS, QUERIES, SEEDS, World, run, same, world

from pyrite.core.candidates import STRUCTURAL, Candidates, Negatives, Reason
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.rng import combine, gumbel, stream
from pyrite.miner.choose import reasons_of
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mix import Pool, choose_mix
from pyrite.miner.samplers import SamplerConfig, SamplerPart, Scored, log_weights

SOURCES = ("dense", "bm25")


def pools(w: World, filters: FilterConfig, rows: Any = None) -> tuple[Pool, Pool, Any]:
    """Retrieved candidates of two sources, and all documents as the random ones."""
    rows = np.arange(QUERIES) if rows is None else rows
    c = w.candidates
    source = (np.maximum(c.ids, 0) % 2).astype(np.uint8)
    c = replace(c, source=source, sources=SOURCES)
    every = np.tile(np.arange(DOCUMENTS), (QUERIES, 1))
    # the corpus row of a document depends on the file; its score must not
    thirteenths = (w.context.doc_ids_N % np.uint64(13)).astype(np.float32)
    scores = thirteenths / np.float32(8) - np.float32(0.8)
    none = np.zeros(every.shape, np.uint8)
    ranks = none.astype(np.int32)
    random = Candidates(c.query_rows, every, scores[every], none, ranks, ("random",), 3)
    found = []
    for pool in (c, random):
        names = ("query_rows", "ids", "scores", "source", "source_rank")
        part = replace(pool, **{name: getattr(pool, name)[rows] for name in names})
        found.append(Pool(part, reasons_of(part, w.pos_scores[rows], w.context, filters)))
    return found[0], found[1], w.pos_scores[rows]


def mixed(
    w: World, filters: FilterConfig, config: SamplerConfig, seed: int, rows: Any = None
) -> Negatives:
    retrieved, random, pos_scores = pools(w, filters, rows)
    return choose_mix(retrieved, random, pos_scores, w.context, config, seed)


PARTS = st.builds(
    lambda name, n, source: SamplerPart(
        source=None if name == "random" else source,
        **fitting(name=name, n=n, window_min=1, window_max=7),
    ),
    st.sampled_from(["topk", "random", "window", "simans", "softmax"]),
    st.integers(1, 4),
    st.sampled_from([None, *SOURCES]),
)
STEPS = st.lists(st.sampled_from(["relax", "random_fill"]), unique=True, max_size=2)
MIXES = st.builds(
    lambda parts, steps: SamplerConfig(mix=parts, on_short=steps),
    st.lists(PARTS, min_size=1, max_size=4),
    STEPS,
)


class PlainQuery:
    """One query of a world, chosen for document by document."""

    def __init__(self, w: World, filters: FilterConfig, seed: int, q: int) -> None:
        self.w, self.seed, self.q = w, seed, q
        self.retrieved, self.random, _ = pools(w, filters)
        self.taken: set[int] = set()
        self.found: list[Any] = []

    def noise(self, number: int, doc: int) -> float:
        purpose = 16 + number if number else 0
        root = combine(stream(self.seed, 3, purpose), self.w.context.query_ids_Q[self.q])
        return float(gumbel(combine(root, self.w.context.doc_ids_N[doc])))

    def text(self, doc: int) -> int:
        return int(self.w.context.doc_texts_N[doc])

    def take(self, keys: dict[int, float], pool: Pool, n: int, tier: int) -> None:
        c, rank = pool.candidates, self.w.context.rank_N
        for k in sorted(keys, key=lambda k: (-keys[k], rank[c.ids[self.q, k]]))[:n]:
            doc = int(c.ids[self.q, k])
            self.taken.add(self.text(doc))
            self.found.append((doc, c.sources[c.source[self.q, k]], tier))

    def part(self, part: SamplerPart, number: int) -> None:
        pool = self.random if part.name == "random" else self.retrieved
        c, free = pool.candidates, pool.reasons[self.q].copy()
        for k, doc in enumerate(c.ids[self.q].tolist()):
            if doc >= 0 and self.text(doc) in self.taken:
                free[k] |= np.uint16(1 << 15)
        view = Scored(c.scores[[self.q]], free[None], self.w.pos_scores[[self.q]])
        weights = log_weights(view, part)[0]
        keys = {}
        for k, doc in enumerate(c.ids[self.q].tolist()):
            right = part.source is None or c.sources[c.source[self.q, k]] == part.source
            if free[k] == 0 and np.isfinite(weights[k]) and right:
                keys[k] = float(weights[k]) + self.noise(number, doc)
        self.take(keys, pool, part.n, 0)

    def step(self, step: str, number: int, total: int) -> None:
        keys: dict[int, float] = {}
        pool = self.retrieved if step == "relax" else self.random
        for k, doc in enumerate(pool.candidates.ids[self.q].tolist()):
            reason = int(pool.reasons[self.q, k])
            if doc < 0 or self.text(doc) in self.taken:
                continue
            if step == "relax" and reason and not reason & int(STRUCTURAL):
                keys[k] = -float(pool.candidates.scores[self.q, k])
            elif step == "random_fill" and not reason:
                keys[k] = self.noise(number, doc)
        self.take(keys, pool, total - len(self.found), 1 if step == "relax" else 2)


def plainly(w: World, filters: FilterConfig, config: SamplerConfig, seed: int, q: int) -> list[Any]:
    """(document, source, tier) of the negatives of one query."""
    query = PlainQuery(w, filters, seed, q)
    for number, part in enumerate(config.parts):
        query.part(part, number)
    for number, step in enumerate(config.on_short, start=len(config.parts)):
        query.step(step, number, config.total)
    return query.found


@given(SEEDS, FILTERS, MIXES)
def test_a_mix_equals_a_plain_loop(seed: int, filters: FilterConfig, config: SamplerConfig) -> None:
    w = world(seed)
    found = mixed(w, filters, config, seed)
    assert found.ids.shape == (QUERIES, config.total)
    for q in range(QUERIES):
        expected = plainly(w, filters, config, seed, q)
        count = int(found.counts()[q])
        sources = [found.sources[s] for s in found.source[q, :count]]
        got = list(zip(found.ids[q, :count].tolist(), sources, found.tiers[q, :count], strict=True))
        assert got == expected
        assert (found.ids[q, count:] == -1).all()
        assert not found.probabilities[q, count:].any()


@given(SEEDS, FILTERS, MIXES)
def test_no_positive_no_copy_and_nothing_rejected_but_by_relaxing(
    seed: int, filters: FilterConfig, config: SamplerConfig
) -> None:
    w = world(seed)
    found = mixed(w, filters, config, seed)
    retrieved, random, _ = pools(w, filters)
    for q in range(QUERIES):
        ids = [d for d in found.ids[q].tolist() if d >= 0]
        texts = w.context.doc_texts_N[ids].tolist()
        assert len(set(texts)) == len(texts)
        assert not set(ids) & w.positives[q]
        for at, doc in enumerate(ids):
            name = found.sources[found.source[q, at]]
            pool = random if name == "random" else retrieved
            reason = int(pool.reasons[q, pool.candidates.ids[q].tolist().index(doc)])
            assert not reason & int(STRUCTURAL)
            assert (reason != 0) == (found.tiers[q, at] == 1)


@given(SEEDS, FILTERS, MIXES, st.permutations(range(QUERIES)), st.integers(1, QUERIES))
def test_neither_order_nor_blocks_change_a_mix(
    seed: int, filters: FilterConfig, config: SamplerConfig, order: list[int], size: int
) -> None:
    w = world(seed)
    whole = mixed(w, filters, config, seed)
    for start in range(0, QUERIES, size):
        rows = np.array(order[start : start + size])
        part = mixed(w, filters, config, seed, rows)
        names = [[part.sources[s] for s in row] for row in part.source]
        assert names == [[whole.sources[s] for s in row] for row in whole.source[rows]]
        plain = replace(whole, source=np.zeros_like(whole.source))
        assert same(plain, replace(part, source=np.zeros_like(part.source)), rows)


@given(SEEDS, FILTERS, PARTS.filter(lambda p: p.name != "random" and p.source is None))
def test_one_part_is_the_sampler_itself(
    seed: int, filters: FilterConfig, part: SamplerPart
) -> None:
    w = world(seed)
    alone = SamplerConfig(**part.model_dump())
    left, right = run(w, filters, alone, seed), mixed(w, filters, SamplerConfig(mix=[part]), seed)
    assert np.array_equal(left.ids, right.ids)
    assert np.array_equal(left.probabilities, right.probabilities)


def test_a_query_that_runs_short_is_dropped_when_told_so() -> None:
    w = world(8)
    part = SamplerPart(name="topk", n=3)
    filters = FilterConfig(max_score=0.5)
    short = mixed(w, filters, SamplerConfig(mix=[part]), 0)
    counts = short.counts()
    assert 0 < (counts == 3).sum() < QUERIES, "the world has no short query, or only short ones"
    dropped = mixed(w, filters, SamplerConfig(mix=[part], on_short=["drop_query"]), 0)
    assert same(short, dropped, np.flatnonzero(counts == 3))
    assert dropped.pos_scores.tolist() == w.pos_scores[counts == 3].tolist()
    filled = SamplerConfig(mix=[part], on_short=["relax", "random_fill", "drop_query"])
    after = mixed(w, filters, filled, 0)
    assert {0, 1, 2} == set(after.tiers.ravel().tolist())
    assert after.query_rows.size >= dropped.query_rows.size
    assert (after.counts() == 3).all()


def test_relaxing_lifts_the_cap_on_clusters_before_any_rule_about_relevance() -> None:
    """Whatever scores lowest: what is over the cap is doubted by nobody."""
    w = world(8)
    retrieved, _, pos_scores = pools(w, FilterConfig())
    c, n = retrieved.candidates, 3
    over, doubted, final = (
        np.uint16(r) for r in (Reason.CLUSTER, Reason.CLUSTER_FALSE_NEGATIVE, Reason.NEAR_DUPLICATE)
    )
    marks = np.array([0, over, doubted, final], np.uint16)
    config = SamplerConfig(name="topk", n=n, on_short=["relax"])
    generator = np.random.default_rng(0)
    decided = 0
    for _ in range(10):
        which = generator.choice(4, c.ids.shape, p=(0.1, 0.4, 0.4, 0.1))
        reasons = np.where(retrieved.reasons == 0, marks[which], retrieved.reasons)
        found = choose_mix(Pool(c, reasons), None, pos_scores, w.context, config, 0)
        for q in range(QUERIES):
            relaxed = set(found.ids[q][found.tiers[q] == 1].tolist())
            candidates = list(zip(c.ids[q], c.scores[q], reasons[q], strict=True))
            known = [
                (r == doubted, s, w.context.rank_N[d], int(d))
                for d, s, r in candidates
                if r in {over, doubted}
            ]
            missing = max(0, n - sum(r == 0 for *_, r in candidates))
            assert relaxed == {d for *_, d in sorted(known)[:missing]}
            decided += relaxed != {d for *_, d in sorted(row[1:] for row in known)[:missing]}
    assert decided, "the lowest scores alone would have been the same"


def test_parts_have_noise_of_their_own() -> None:
    """With the noise of the first part, the second would draw what it liked least."""
    w = world(8)
    twice = SamplerConfig(mix=[SamplerPart(name="random", n=1), SamplerPart(name="random", n=1)])
    seconds, thirds = 0, 0
    for seed in range(40):
        alone = mixed(w, FilterConfig(), SamplerConfig(mix=[SamplerPart(name="random", n=2)]), seed)
        both = mixed(w, FilterConfig(), twice, seed)
        assert np.array_equal(alone.ids[:, 0], both.ids[:, 0])
        seconds += int((alone.ids[:, 1] == both.ids[:, 1]).sum())
        thirds += QUERIES
    assert seconds < thirds / 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "random", "source": "bm25"}, "random documents come"),
        ({"mix": [{"name": "topk", "window_min": 9, "window_max": 2}]}, "window_min=9"),
        ({"on_short": ["pad"]}, "'relax', 'random_fill' or 'drop_query'"),
        ({"mix": [{"name": "topk", "m": 2}]}, "unknown key 'mix.0.m'"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(PyriteError) as error:
        parse_config(SamplerConfig, settings)
    assert says in str(error.value)


def test_a_source_that_was_not_retrieved() -> None:
    config = SamplerConfig(mix=[SamplerPart(name="topk", n=1, source="colbert")])
    with pytest.raises(PyriteError, match=r"sampler\.source='colbert' .*\(dense, bm25\)"):
        mixed(world(1), FilterConfig(), config, 0)

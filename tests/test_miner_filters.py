from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.candidates import Candidates, Reason
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.tables import Qrels
from pyrite.miner.filters import (
    U16,
    FilterConfig,
    allowed_rank,
    ceilings_line,
    margin_ceiling,
    percent_ceiling,
    positive_scores,
    score_reasons,
    structural_reasons,
)
from pyrite.miner.mine import MineConfig

WORKED = [0.82, 0.78, 0.76, 0.74, 0.60]
HOW = ("min", "mean", "max")


@dataclass(frozen=True)
class World:
    """Texts are numbers: two documents with the same number have the same normalised text."""

    candidates: Candidates
    judged: list[tuple[int, int, int]]
    query_texts: list[int]
    doc_texts: list[int]
    min_grade: int

    def qrels(self) -> Qrels:
        query, doc, grade = np.array(self.judged, dtype=np.int64).reshape(-1, 3).T
        return Qrels.build(query, doc, grade, len(self.query_texts), self.min_grade)

    def reasons(self, candidates: Candidates) -> U16:
        texts = np.array(self.query_texts, dtype=np.uint64)[candidates.query_rows]
        docs = np.array(self.doc_texts, dtype=np.uint64)
        return structural_reasons(candidates, self.qrels(), texts, docs)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    documents = draw(st.integers(1, 10))
    queries = draw(st.integers(1, 4))
    text = st.integers(0, 6)
    doc_texts = draw(st.lists(text, min_size=documents, max_size=documents))
    query_texts = draw(st.lists(text, min_size=queries, max_size=queries))
    triple = st.tuples(
        st.integers(0, queries - 1), st.integers(0, documents - 1), st.integers(0, 2)
    )
    judged = draw(st.lists(triple, max_size=12, unique_by=lambda t: t[:2]))
    rows = draw(st.permutations(range(queries)))[: draw(st.integers(1, queries))]
    width = draw(st.integers(1, documents + 2))
    ids = np.full((len(rows), width), -1, dtype=np.int64)
    scores = np.full(ids.shape, -np.inf, dtype=np.float32)
    for at in range(len(rows)):
        found = draw(st.permutations(range(documents)))[:width]
        found = found[: draw(st.integers(0, len(found)))]
        values = st.floats(-2, 2, width=32) | st.just(float("nan")) | st.just(float("inf"))
        drawn = draw(st.lists(values, min_size=len(found), max_size=len(found)))
        ids[at, : len(found)] = found
        scores[at, : len(found)] = sorted(drawn, reverse=True)
    candidates = Candidates.of_one(np.array(rows, dtype=np.int64), ids, scores, "dense")
    return World(candidates, judged, query_texts, doc_texts, draw(st.integers(1, 2)))


def structural_oracle(world: World) -> list[list[int]]:
    out = []
    for at, query in enumerate(world.candidates.query_rows.tolist()):
        positives = {d for q, d, g in world.judged if q == query and g >= world.min_grade}
        same = {world.doc_texts[d] for d in positives} | {world.query_texts[query]}
        seen: set[int] = set()
        row = []
        for doc, score in zip(
            world.candidates.ids[at].tolist(), world.candidates.scores[at].tolist(), strict=True
        ):
            if doc == -1:
                row.append(int(Reason.PAD))
                continue
            reason = 0 if np.isfinite(score) else int(Reason.NONFINITE)
            if doc in positives:
                reason |= Reason.POSITIVE
            elif world.doc_texts[doc] in same:
                reason |= Reason.SAME_TEXT
            if world.doc_texts[doc] in seen:
                reason |= Reason.DUPLICATE
            seen.add(world.doc_texts[doc])
            row.append(int(reason))
        out.append(row)
    return out


def keeps(scores: list[float], pos: float, config: FilterConfig) -> list[float]:
    values = np.array([scores], dtype=np.float32)
    reasons = score_reasons(values, np.array([pos], dtype=np.float32), config)
    return [s for s, reason in zip(scores, reasons[0], strict=True) if reason == 0]


@given(worlds())
def test_structural_reasons_equal_a_plain_loop(world: World) -> None:
    assert world.reasons(world.candidates).tolist() == structural_oracle(world)


@given(worlds(), st.integers(1, 3))
def test_structural_reasons_do_not_depend_on_blocks_or_query_order(world: World, size: int) -> None:
    whole = world.reasons(world.candidates)
    total = whole.shape[0]
    blocks = [world.candidates.block(s, min(s + size, total)) for s in range(0, total, size)]
    assert np.array_equal(np.concatenate([world.reasons(b) for b in blocks]), whole)
    order = np.arange(total)[::-1]
    source = world.candidates
    turned = Candidates.of_one(
        source.query_rows[order], source.ids[order], source.scores[order], "dense"
    )
    assert np.array_equal(world.reasons(turned), whole[order])


def test_every_structural_reason_on_one_query() -> None:
    # documents: 0 positive, 1 its copy, 2 the query's text, 3 and 4 copies of each other, 5 alone
    world = World(
        Candidates.of_one(
            np.array([0]),
            np.array([[3, 1, 0, 4, 2, 5, -1]]),
            np.array([[0.9, 0.8, 0.7, 0.6, 0.5, np.nan, -np.inf]], dtype=np.float32),
            "dense",
        ),
        [(0, 0, 1), (0, 5, 0)],
        [12],
        [10, 10, 12, 13, 13, 15],
        1,
    )
    assert world.reasons(world.candidates).tolist() == [
        [
            0,
            Reason.SAME_TEXT,
            Reason.POSITIVE | Reason.DUPLICATE,
            Reason.DUPLICATE,
            Reason.SAME_TEXT,
            Reason.NONFINITE,
            Reason.PAD,
        ]
    ]


def test_without_any_judgement_nothing_is_positive() -> None:
    candidates = Candidates.of_one(
        np.array([0]), np.array([[1, 0]]), np.array([[2.0, 1.0]], dtype=np.float32), "dense"
    )
    world = World(candidates, [], [7], [8, 9], 1)
    assert world.reasons(candidates).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("config", "survivors"),
    [
        (FilterConfig(), WORKED),
        (FilterConfig(margin=0.05), [0.74, 0.60]),
        (FilterConfig(percent=0.95), [0.74, 0.60]),
        (FilterConfig(percent=0.95, ties="keep"), [0.76, 0.74, 0.60]),
        (FilterConfig(max_score=0.7), [0.60]),
        (FilterConfig(margin=0.0), [0.78, 0.76, 0.74, 0.60]),
        (FilterConfig(percent=1.0), [0.78, 0.76, 0.74, 0.60]),
        (FilterConfig(max_score=0.76), [0.74, 0.60]),
        (FilterConfig(max_score=0.76, ties="keep"), [0.76, 0.74, 0.60]),
    ],
)
def test_positive_aware_rules_on_worked_scores(
    config: FilterConfig, survivors: list[float]
) -> None:
    assert keeps(WORKED, 0.80, config) == survivors


def test_ceilings_of_worked_scores() -> None:
    pos = np.array([0.80, -0.20, 0.0], dtype=np.float32)
    assert margin_ceiling(pos, 0.05) == pytest.approx([0.75, -0.25, -0.05], abs=1e-5)
    assert percent_ceiling(pos, 0.95) == pytest.approx([0.76, -0.21, 0.0], abs=1e-5)


def test_a_negative_positive_score_lowers_the_percent_ceiling() -> None:
    config = FilterConfig(percent=0.95)
    assert keeps([-0.195, -0.205, -0.215], -0.20, config) == [-0.215]


POS = st.floats(-4, 4, width=32)
SCORE = st.floats(-4, 4, width=32) | st.sampled_from([float("nan"), float("inf"), float("-inf")])
MATRIX = st.tuples(POS, st.lists(SCORE, min_size=1, max_size=8))
CONFIG = st.builds(
    FilterConfig,
    margin=st.none() | st.floats(0, 2),
    percent=st.none() | st.floats(0.01, 1),
    max_score=st.none() | st.floats(-4, 4),
    ties=st.sampled_from(["drop", "keep"]),
)


def arrays(
    row: tuple[float, list[float]],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    pos, scores = row
    return np.array([scores], dtype=np.float32), np.array([pos], dtype=np.float32)


@given(MATRIX, CONFIG)
def test_score_reasons_equal_a_plain_loop(
    row: tuple[float, list[float]], config: FilterConfig
) -> None:
    pos, scores = row
    ceilings: dict[Reason, float] = {}
    if config.margin is not None:
        ceilings[Reason.MARGIN] = float(np.float32(pos - config.margin))
    if config.percent is not None:
        ceilings[Reason.PERCENT] = float(np.float32(pos - (1 - config.percent) * abs(pos)))
    if config.max_score is not None:
        ceilings[Reason.MAX_SCORE] = float(np.float32(config.max_score))
    expected = []
    for score in scores:
        reason = 0
        for bit, ceiling in ceilings.items():
            kept = score <= ceiling if config.ties == "keep" else score < ceiling
            if np.isfinite(score) and not kept:
                reason |= bit
        expected.append(int(reason))
    assert score_reasons(*arrays(row), config)[0].tolist() == expected


@given(MATRIX, CONFIG)
def test_rules_commute(row: tuple[float, list[float]], config: FilterConfig) -> None:
    names = ("margin", "percent", "max_score")
    alone = [
        score_reasons(*arrays(row), FilterConfig(ties=config.ties, **{name: getattr(config, name)}))
        for name in names
    ]
    together = score_reasons(*arrays(row), config)
    assert np.array_equal(together, np.bitwise_or.reduce(alone))
    for reasons, bit in zip(alone, (Reason.MARGIN, Reason.PERCENT, Reason.MAX_SCORE), strict=True):
        assert not (reasons & ~np.uint16(bit)).any()


@given(MATRIX, st.floats(0, 2), st.floats(0, 2), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_stricter_rule_never_adds_a_survivor(
    row: tuple[float, list[float]], margin: float, more: float, first: float, second: float
) -> None:
    def kept(config: FilterConfig) -> set[int]:
        return set(np.flatnonzero(score_reasons(*arrays(row), config)[0] == 0).tolist())

    assert kept(FilterConfig(margin=margin + more)) <= kept(FilterConfig(margin=margin))
    low, high = sorted((first, second))
    assert kept(FilterConfig(percent=low)) <= kept(FilterConfig(percent=high))
    assert kept(FilterConfig(percent=low)) <= kept(FilterConfig(percent=low, ties="keep"))


def test_each_row_has_its_own_ceiling() -> None:
    scores = np.array([[0.5, 0.3], [0.5, 0.3]], dtype=np.float32)
    pos = np.array([1.0, 0.4], dtype=np.float32)
    reasons = score_reasons(scores, pos, FilterConfig(margin=0.0))
    assert reasons.tolist() == [[0, 0], [Reason.MARGIN, 0]]


@given(st.lists(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=5), min_size=1))
def test_positive_scores_equal_a_plain_loop(groups: list[list[float]]) -> None:
    owner = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    pairs = np.array([s for g in groups for s in g], dtype=np.float32)
    found = {how: positive_scores(pairs, owner, len(groups), how) for how in HOW}
    assert found["min"].tolist() == [min(g) for g in groups]
    assert found["max"].tolist() == [max(g) for g in groups]
    assert found["mean"] == pytest.approx([sum(g) / len(g) for g in groups], abs=1e-6)
    assert {v.dtype for v in found.values()} == {np.dtype(np.float32)}


@given(st.lists(st.lists(st.sampled_from([0, *map(int, Reason), 20, 96]), max_size=6), max_size=4))
def test_allowed_rank_counts_structural_exclusions_only(rows: list[list[int]]) -> None:
    width = max((len(r) for r in rows), default=0)
    padded = [r + [int(Reason.PAD)] * (width - len(r)) for r in rows]
    reasons = np.array(padded, dtype=np.uint16).reshape(len(rows), width)
    found = allowed_rank(reasons)
    for at, row in enumerate(padded):
        rank = 0
        for column, reason in enumerate(row):
            if not reason & (1 | 2 | 4 | 8 | 16):
                assert found[at, column] == rank
                rank += 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("margin", -0.1),
        ("percent", 0),
        ("percent", 1.01),
        ("max_score", float("nan")),
        ("ties", "maybe"),
        ("positive_score", "median"),
    ],
)
def test_bad_settings_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(PyriteError, match=key):
        parse_config(FilterConfig, {key: value})


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"percent": 0.9}, "filters.percent=0.9; off: filters.margin, filters.max_score"),
        (
            {"margin": 0.1},
            "filters.margin=0.1; off: filters.percent, filters.max_score (filters.percent=0.95 is"
            " the default of a run without a section filters; give it here too)",
        ),
        (
            {"margin": 0.1, "percent": None, "max_score": 2.5},
            "filters.margin=0.1, filters.max_score=2.5; off: filters.percent",
        ),
        (
            {"margin": 0, "percent": 1, "max_score": 0},
            "filters.margin=0, filters.percent=1, filters.max_score=0",
        ),
        (
            {"percent": None},
            "none; off: filters.margin, filters.percent, filters.max_score",
        ),
    ],
)
def test_the_line_of_ceilings_says_what_holds(given_: dict[str, object], says: str) -> None:
    assert ceilings_line(parse_config(FilterConfig, given_)) == f"ceilings of scores: {says}"


def test_a_run_without_filters_has_the_default_ceiling() -> None:
    says = "ceilings of scores: filters.percent=0.95; off: filters.margin, filters.max_score"
    assert ceilings_line(MineConfig().filters) == says

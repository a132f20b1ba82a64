from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.miner.filters import FilterConfig
from pyrite.miner.samplers import SamplerConfig
from pyrite.miner.suggest_grid import Setting, notes_of, settings
from pyrite.miner.suggest_rule import (
    MAX_OF_WORST,
    MAX_PROXY,
    MIN_FILLED,
    Outcome,
    closest,
    limit_of,
    recommend,
)
from pyrite.miner.truth import TruthRow

SETTING = Setting("configured", "configured", FilterConfig(), SamplerConfig())


def outcome(filled: float, hardness: float | None, proxy: float | None) -> Outcome:
    return Outcome(SETTING, 0.5, 0.1, filled, hardness, proxy)


def counted(filled: float, hardness: float, share: float | None, proxy: float = 0.4) -> Outcome:
    row = TruthRow(SETTING, 100, 0, share, None, hardness, None)
    return Outcome(SETTING, 0.5, 0.1, filled, hardness, proxy, row)


SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 1.0])
OUTCOMES = st.lists(
    st.builds(
        lambda filled, drawn: outcome(filled, *(drawn or (None, None))),
        st.sampled_from([0.0, 0.5, 0.899, 0.9, 0.95, 1.0]),
        st.none() | st.tuples(st.sampled_from([-0.3, -0.2, -0.1, 0.0, 0.1]), SHARES),
    ),
    max_size=8,
)


@given(OUTCOMES, SHARES)
def test_the_recommended_one_is_the_hardest_within_both_limits(
    outcomes: list[Outcome], limit: float
) -> None:
    best: Outcome | None = None
    for o in outcomes:
        if o.hardness is None or o.false_negatives is None:
            continue
        if o.filled < MIN_FILLED or o.false_negatives > limit:
            continue
        if best is None or best.hardness is None or o.hardness > best.hardness:
            best = o
    assert recommend(outcomes, limit) is best


@given(OUTCOMES)
def test_the_nearest_one_fills_first_and_then_has_the_fewest_false_negatives(
    outcomes: list[Outcome],
) -> None:
    best: Outcome | None = None
    for o in outcomes:
        if o.hardness is None:
            continue
        if best is None:
            best = o
            continue
        proxy, least_proxy = o.proxy, best.proxy
        assert proxy is not None
        assert least_proxy is not None
        hardest = best.hardness
        assert hardest is not None
        lacks, least = (max(0.0, MIN_FILLED - x.filled) for x in (o, best))
        if lacks != least:
            best = o if lacks < least else best
        elif proxy != least_proxy:
            best = o if proxy < least_proxy else best
        elif o.hardness > hardest:
            best = o
    assert closest(outcomes) is best


def test_a_query_short_by_a_few_does_not_cost_a_ceiling_its_place() -> None:
    window, ceiling = outcome(1.0, -0.2, 0.1), outcome(0.93, -0.1, 0.2)
    starved = outcome(0.89, 0.0, 0.0)
    assert recommend([window, ceiling, starved], MAX_PROXY) is ceiling


def test_hidden_positives_decide_where_they_were_counted() -> None:
    # the proxy would refuse them all, and cannot tell them apart
    open_one, loose, strict = counted(1, 0.0, 0.06), counted(1, -0.1, 0.03), counted(1, -0.2, 0.01)
    outcomes = [open_one, loose, strict]
    limit = limit_of(outcomes, None)
    assert limit == pytest.approx(MAX_OF_WORST * 0.06)
    assert recommend(outcomes, limit) is loose
    assert recommend(outcomes, limit_of(outcomes, 0.02)) is strict
    assert recommend(outcomes, limit_of(outcomes, 0.5)) is open_one


def test_a_setting_that_draws_little_does_not_set_the_limit() -> None:
    starved, full = counted(0.2, -0.1, 0.5), counted(1, 0.0, 0.06)
    assert limit_of([starved, full], None) == pytest.approx(MAX_OF_WORST * 0.06)
    assert limit_of([starved, counted(0.1, -0.1, 0.2)], None) == MAX_OF_WORST * 0.5


def test_the_limit_is_the_proxy_s_own_where_nothing_was_hidden() -> None:
    assert limit_of([outcome(1, 0.0, 0.9)], None) == MAX_PROXY
    assert limit_of([outcome(1, 0.0, 0.9)], 0.0) == 0.0


def test_no_hidden_positive_drawn_leaves_the_hardest() -> None:
    outcomes = [counted(1, -0.2, 0.0), counted(1, -0.1, 0.0), counted(0.9, 0.5, None)]
    assert limit_of(outcomes, None) == 0
    assert recommend(outcomes, 0.0) is outcomes[1]
    # a share that nobody knows is not a small one
    assert closest(outcomes[::-1]) is outcomes[1]
    assert outcomes[2].false_negatives is None


def test_of_equals_the_first_is_taken() -> None:
    outcomes = [outcome(1, -0.1, 0.1), outcome(1, -0.1, 0.1)]
    assert recommend(outcomes, 1.0) is outcomes[0]
    assert closest(outcomes) is outcomes[0]
    assert recommend([], 1.0) is closest([]) is None


def test_two_conditions_leaves_the_ceilings_out_and_says_so() -> None:
    filters = FilterConfig(two_conditions=True)
    families = {s.family for s in settings(filters, SamplerConfig())}
    assert families == {"configured", "window", "simans"}
    [note] = notes_of(filters, SamplerConfig())
    assert note.startswith("no ceilings are compared: filters.two_conditions")
    assert notes_of(FilterConfig(), SamplerConfig()) == ()


def test_the_json_has_both_estimates() -> None:
    row = TruthRow(SETTING, 100, 3, 0.03, (0.01, 0.05), -0.1, None)
    found = Outcome(SETTING, 0.5, 0.1, 1, -0.1, 0.4, row).as_json()
    assert (found["false_negatives"], found["proxy"], found["hidden_drawn"]) == (0.03, 0.4, 3)
    assert found["false_negatives_ci95"] == (0.01, 0.05)
    plain = outcome(1, -0.1, 0.4).as_json()
    assert plain["false_negatives"] == plain["proxy"] == 0.4
    assert plain["hidden_drawn"] is plain["false_negatives_ci95"] is None
    assert math.isclose(plain["filled"], 1)

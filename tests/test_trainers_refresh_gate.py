from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.trainers.refresh_gate import Facts, GateSection, decide

NAN = math.nan
SHARES = st.one_of(st.none(), st.floats(0, 1))
NUMBERS = st.one_of(st.none(), st.sampled_from([NAN, math.inf, -math.inf]), st.floats(0, 1))
GATES = st.builds(
    GateSection,
    split=st.just("dev"),
    max_ndcg_drop=SHARES,
    min_overlap=SHARES,
    max_false_negative_share=SHARES,
)
FACTS = st.builds(Facts, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
# what a larger number of it means
GOOD, BAD = ("ndcg", "overlap"), ("best_ndcg", "false_negative_share")
STRICT = GateSection(split="dev", max_ndcg_drop=0.02, min_overlap=0.3, max_false_negative_share=0.1)
FINE = Facts(ndcg=0.5, best_ndcg=0.52, overlap=0.3, false_negative_share=0.1)


@given(FACTS)
def test_without_limits_every_generation_is_adopted(facts: Facts) -> None:
    assert decide(GateSection(), facts) == ()
    assert decide(GateSection(split="dev"), facts) == ()


def test_a_value_at_its_limit_is_adopted() -> None:
    assert decide(STRICT, FINE) == ()
    # .8 - .1 is over .7 by the last bit
    wide = GateSection(split="dev", max_ndcg_drop=0.7)
    assert 0.8 - 0.1 > 0.7
    assert decide(wide, Facts(ndcg=0.1, best_ndcg=0.8)) == ()


@pytest.mark.parametrize(
    ("worse", "says"),
    [
        (
            {"ndcg": 0.49},
            "nDCG@10 on dev of the weights is 0.4900, 0.0300 below the best adopted so far, over"
            " refresh.gate.max_ndcg_drop=0.02; raise it, or lower train.learning_rate",
        ),
        ({"best_ndcg": 0.53}, "0.0300 below the best adopted"),
        ({"ndcg": None}, "nDCG@10 on dev was not measured, but refresh.gate.max_ndcg_drop=0.02"),
        ({"ndcg": NAN}, "nDCG@10 on dev is nan, the best so far 0.52, no finite number"),
        ({"ndcg": math.inf}, "is inf, the best so far 0.52, no finite number"),
        ({"best_ndcg": NAN}, "is 0.5, the best so far nan, no finite number"),
        ({"ndcg": NAN, "best_ndcg": None}, "is nan, the best so far None, no finite number"),
        (
            {"overlap": 0.29},
            "overlap with the last generation is 0.2900, under refresh.gate.min_overlap=0.3;"
            " lower it, or refresh.every_steps",
        ),
        ({"overlap": NAN}, "overlap with the last generation is nan, no finite number"),
        (
            {"false_negative_share": 0.11},
            "estimated share of false negatives is 0.1100, over"
            " refresh.gate.max_false_negative_share=0.1; raise it, or tighten filters.percent",
        ),
        ({"false_negative_share": NAN}, "estimated share of false negatives is nan"),
        ({"false_negative_share": None}, "estimated share of false negatives was not measured"),
    ],
)
def test_each_limit_refuses_with_one_sentence(worse: dict[str, float | None], says: str) -> None:
    (reason,) = decide(STRICT, replace(FINE, **worse))
    assert says in reason
    assert "refresh.gate." in reason


def test_the_first_generation_has_nothing_to_be_compared_with() -> None:
    assert decide(STRICT, replace(FINE, best_ndcg=None, overlap=None)) == ()


def test_every_broken_limit_has_its_own_reason() -> None:
    found = decide(STRICT, Facts(ndcg=0.1, best_ndcg=0.9, overlap=0.0, false_negative_share=1.0))
    assert len(found) == len(set(found)) == 3


@given(GATES, FACTS, st.sampled_from(GOOD + BAD), st.floats(0, 1), st.booleans())
def test_worse_facts_never_turn_a_refusal_into_an_adoption(
    gate: GateSection, facts: Facts, name: str, by: float, broken: bool
) -> None:
    value = getattr(facts, name)
    if value is None:
        return
    changed = NAN if broken else value - by if name in GOOD else value + by
    before, after = decide(gate, facts), decide(gate, replace(facts, **{name: changed}))
    # an infinite value, refused as it is, gets no better by a finite step
    assert len(after) >= len(before)


@given(GATES, FACTS, st.floats(0, 1))
def test_a_tighter_limit_never_adopts_more(gate: GateSection, facts: Facts, by: float) -> None:
    before = decide(gate, facts)
    limits = {
        "max_ndcg_drop": max(0.0, (gate.max_ndcg_drop or 0) - by),
        "min_overlap": min(1.0, (gate.min_overlap or 0) + by),
        "max_false_negative_share": max(0.0, (gate.max_false_negative_share or 0) - by),
    }
    for name, limit in limits.items():
        tighter = gate.model_copy(update={name: limit})
        assert len(decide(tighter, facts)) >= len(before)


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"max_ndcg_drop": 0.1}, "max_ndcg_drop=0.1 has nothing to be measured on; set split"),
        ({"min_overlap": 1.5}, "min_overlap=1.5"),
        ({"max_false_negative_share": -0.1}, "max_false_negative_share=-0.1"),
        ({"max_ndcg_drop": NAN, "split": "dev"}, "max_ndcg_drop=nan"),
        ({"split": "../dev"}, "split='../dev'"),
    ],
)
def test_a_limit_that_cannot_hold_is_a_mistake(given_: dict[str, object], says: str) -> None:
    with pytest.raises(PyriteError) as caught:
        parse_config(GateSection, given_)
    assert says in str(caught.value)

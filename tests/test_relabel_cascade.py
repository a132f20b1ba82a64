from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relabel_cases import WORDS, asked, reader, rows_of

from pyrite.miner.relabel.agreement import Agreement, cohen_kappa
from pyrite.miner.relabel.cascade import Cascade, Stage
from pyrite.miner.relabel.case import Case, Judgement
from pyrite.miner.relabel.judges.duplicates import DuplicatesJudge
from pyrite.miner.relabel.ruling import Counted, Forward
from pyrite.miner.training_row import Doc, TrainingRow


def outcomes(cascade: Cascade, *texts: str) -> list[list[str]]:
    return [[o.why or o.state for o in row] for row in cascade.decide(rows_of(*texts))]


def two(forward: Forward = "row", counted: Counted = "better_or_equal") -> Cascade:
    small, large = reader(0, "small"), reader(1, "large")
    return Cascade([Stage(small, forward), Stage(large)], counted)


def test_a_row_without_a_relevant_document_never_reaches_the_second_stage() -> None:
    cascade = two()
    assert outcomes(cascade, "clean clean") == [["clean", "clean"]]
    assert asked(cascade.stages[1].judge) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["better", "equal", "worse", "unsure"])
def test_a_row_with_one_goes_on_as_a_whole(word: str) -> None:
    cascade = two()
    assert outcomes(cascade, f"clean/better {word}/clean") == [["false_negative", "clean"]]


def test_only_what_is_relevant_goes_on_where_documents_are_forwarded() -> None:
    cascade = two("relevant")
    assert outcomes(cascade, "clean/better worse/better unsure/clean") == [
        ["clean", "false_negative", "clean"]
    ]
    assert asked(cascade.stages[1].judge) == [["worse/better", "unsure/clean"]]  # type: ignore[arg-type]


def test_a_stage_may_decide_all_that_it_is_sure_of() -> None:
    assert outcomes(two("unsure"), "better/clean worse/better unsure/equal") == [
        ["false_negative", "clean", "false_negative"]
    ]


def test_worse_counts_where_all_that_is_relevant_counts() -> None:
    assert outcomes(two(), "worse") == [["clean"]]
    assert outcomes(two(counted="relevant"), "worse") == [["false_negative"]]


@pytest.mark.parametrize("state", ["parse_error", "truncated", "refused", "index_error", "failed"])
def test_a_reply_that_cannot_be_read_is_never_clean(state: str) -> None:
    cascade = Cascade([Stage(reader(0))])
    assert outcomes(cascade, f"!{state} clean", "clean") == [[state, state], ["clean"]]
    assert cascade.tallies[0].unknown == {state: 2}
    # the next stage sees them even where it would see nothing else
    assert outcomes(two("relevant"), f"!{state}/better clean") == [["false_negative", "clean"]]


def test_nobody_is_asked_about_what_has_no_text_or_nothing_to_compare_with() -> None:
    judge = reader()
    good, gone = Doc("p", "", "the positive"), Doc("x", "", "", known=False)
    rows = [
        TrainingRow(1, "q", "a", (), (Doc("d", "", "better"),)),
        TrainingRow(2, "q", "b", (good,), (gone, Doc("d", "", "better"))),
        TrainingRow(3, "q", "", (good,), (Doc("d", "", "better"),), known=False),
    ]
    cascade = Cascade([Stage(judge)])
    found = [[o.why or o.state for o in row] for row in cascade.decide(rows)]
    assert found == [["no_positives"], ["no_text", "false_negative"], ["no_text"]]
    assert asked(judge) == [["better"]]
    assert sum(cascade.states.values()) == 4


def test_copies_are_settled_for_nothing() -> None:
    judge = reader()
    words = "the quick brown fox jumps over the lazy dog near the old river bank today"
    row = TrainingRow(
        1,
        "q",
        "query",
        (Doc("p", "", words),),
        (
            Doc("a", "", words.upper()),
            Doc("p", "", "another text under the same id"),
            Doc("b", "", words + " again"),
            Doc("c", "", "clean"),
        ),
    )
    cascade = Cascade([Stage(DuplicatesJudge(), "unsure", compared=False), Stage(judge)])
    (found,) = cascade.decide([row])
    assert [(o.state, o.stage) for o in found] == [("false_negative", 0)] * 3 + [("clean", 1)]
    assert asked(judge) == [["clean"]]
    (exact,) = Cascade([Stage(DuplicatesJudge(None))]).decide([row])
    assert [o.why or o.state for o in exact][2:] == ["abstained", "abstained"]


WORD = st.tuples(st.sampled_from(list(WORDS)), st.sampled_from(list(WORDS)))


@given(
    st.lists(st.lists(WORD, max_size=4), max_size=5),
    st.sampled_from(["unsure", "relevant", "row"]),
    st.sampled_from(["better_or_equal", "relevant"]),
)
def test_two_stages_decide_as_a_plain_loop_does(
    rows: list[list[tuple[str, str]]], forward: Forward, counted: Counted
) -> None:
    cascade = two(forward, counted)
    found = outcomes(cascade, *(" ".join("/".join(pair) for pair in row) for row in rows))
    false = {"better", "equal"} | ({"worse"} if counted == "relevant" else set())
    said = {w: "abstained" if w == "unsure" else "clean" for w in WORDS}
    said |= dict.fromkeys(false, "false_negative")
    expected = []
    for row in rows:
        go = {"unsure": {"unsure"}}.get(forward, {"unsure", "better", "equal", "worse"})
        any_goes = any(first in go for first, _ in row)
        expected.append(
            [
                said[second] if first in go or (forward == "row" and any_goes) else said[first]
                for first, second in row
            ]
        )
    assert found == expected
    assert sum(cascade.states.values()) == sum(map(len, rows))
    for tally in cascade.tallies:
        assert sum(tally.rulings.values()) == tally.seen
    assert cascade.tallies[1].seen == cascade.tallies[0].rulings["forwarded"]


def test_the_order_in_which_replies_arrive_decides_nothing() -> None:
    class Backwards:
        def __init__(self) -> None:
            self._inner = reader()

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def judge(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Judgement]]:
            return reversed(list(self._inner.judge(cases)))

    texts = ("better clean", "clean", "", "equal")
    late = Cascade([Stage(Backwards())])  # type: ignore[arg-type]
    assert outcomes(late, *texts) == outcomes(Cascade([Stage(reader())]), *texts)


def test_a_judge_that_forgets_a_case_is_noticed() -> None:
    judge = reader()
    judge.judge = lambda cases: iter([])  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no judgement of line 1"):
        Cascade([Stage(judge)]).decide(rows_of("clean"))


def test_sampled_rows_are_seen_by_every_stage_and_compared() -> None:
    small, large = reader(0, "small"), reader(1, "large")
    cascade = Cascade([Stage(small, "relevant"), Stage(large)], double=1.0)
    texts = ["clean/clean"] * 15 + ["clean/better"] * 10 + ["better/clean"] * 5
    texts += ["better/better"] * 20 + ["unsure/clean"]
    found = outcomes(cascade, *texts)
    # the last stage decides of these rows too
    assert found[15] == ["false_negative"]
    (table,) = cascade.agreements.values()
    assert (table.table, table.undecided) == ([[15, 10], [5, 20]], 1)
    assert table.kappa == pytest.approx(0.4)


def test_the_sample_is_about_as_large_as_asked_and_the_same_in_any_block() -> None:
    rows = rows_of(*["clean"] * 2000)
    whole, parts = (
        Cascade([Stage(reader(0, "a")), Stage(reader(1, "b"))], double=0.1, seed=3) for _ in "ab"
    )
    whole.decide(rows)
    for start in range(0, 2000, 7):
        parts.decide(rows[start : start + 7])
    assert 150 < whole.tallies[1].seen < 250
    assert whole.tallies[1].seen == parts.tallies[1].seen
    assert whole.agreements[1].table == parts.agreements[1].table


def test_another_order_is_compared_and_decides_nothing() -> None:
    twin = reader(1)
    cascade = Cascade([Stage(reader(0), twin=twin)], double=1.0)
    assert outcomes(cascade, "clean/better better/better") == [["clean", "false_negative"]]
    assert cascade.orders[0].table == [[0, 1], [0, 1]]


def test_stages_and_outcomes_are_compared_with_a_person() -> None:
    human = {("q1", "d1.0"): True, ("q1", "d1.1"): False, ("q9", "x"): True}
    cascade = two("relevant")
    cascade.human = human
    outcomes(cascade, "better/clean clean")
    first, second, whole = cascade.against_human
    assert (first.table, second.table) == ([[1, 0], [0, 1]], [[0, 1], [0, 0]])
    assert whole.table == [[1, 1], [0, 0]]


def test_kappa_of_the_worked_table() -> None:
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    assert cohen_kappa([[20, 0], [0, 20]]) == 1.0
    assert math.isnan(cohen_kappa([[7, 0], [0, 0]]))
    assert math.isnan(cohen_kappa([[0, 0], [0, 0]]))


def test_kappa_is_that_of_its_definition() -> None:
    for a, b, c, d in product(range(4), repeat=4):
        total = a + b + c + d
        if not total:
            continue
        observed = (a + d) / total
        chance = ((a + b) * (a + c) + (c + d) * (b + d)) / total**2
        kappa = cohen_kappa([[a, b], [c, d]])
        if chance == 1:
            assert math.isnan(kappa)
        else:
            assert kappa == pytest.approx((observed - chance) / (1 - chance))


def test_an_undefined_kappa_is_null_in_json() -> None:
    assert Agreement("a", "b").as_json()["kappa"] is None

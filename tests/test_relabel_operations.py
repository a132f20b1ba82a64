from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.miner.relabel.operations import Operation, edit_of, edited
from pyrite.miner.training_row import Doc, TrainingRow


def doc(name: str, text: str | None = None) -> Doc:
    return Doc(name, "", text or f"text of {name}")


def row(negatives: int, positives: int = 1) -> TrainingRow:
    good = tuple(doc(f"p{i}") for i in range(positives))
    return TrainingRow(1, "q", "query", good, tuple(doc(f"n{i}") for i in range(negatives)))


def names(docs: tuple[Doc, ...]) -> list[str | None]:
    return [d.id for d in docs]


def after(given_row: TrainingRow, operation: Operation, false: list[int]) -> TrainingRow | None:
    return edited(given_row, edit_of(given_row, operation, false))


def test_the_second_of_the_negatives_becomes_the_last_positive() -> None:
    found = after(row(3), "relabel", [1])
    assert found is not None
    assert (names(found.positives), names(found.negatives)) == (["p0", "n1"], ["n0", "n2"])


def test_removing_keeps_the_positives_and_the_order() -> None:
    found = after(row(4), "remove_negative", [2, 0])
    assert found is not None
    assert (names(found.positives), names(found.negatives)) == (["p0"], ["n1", "n3"])


@pytest.mark.parametrize("operation", ["relabel", "remove_negative"])
def test_eight_false_negatives_drop_the_row_and_seven_do_not(operation: Operation) -> None:
    assert edit_of(row(9), operation, range(8), k=7).dropped == "too_many"
    assert edit_of(row(9), operation, range(7), k=7).dropped == ""


def test_remove_row_drops_a_row_with_any() -> None:
    assert edit_of(row(3), "remove_row", [0]).dropped == "has_false_negative"
    assert after(row(3), "remove_row", []) == row(3)


def test_weight_changes_nothing_however_many_there_are() -> None:
    assert after(row(9), "weight", list(range(9))) == row(9)
    assert not edit_of(row(9), "weight", range(9), unwanted=[1]).changes


def test_a_copy_of_a_positive_goes_and_is_no_second_positive() -> None:
    copies = (doc("n0", "TEXT of  p0"), doc("n1", "new"), doc("n2", "New"), doc("n3"))
    given_row = TrainingRow(1, "q", "query", (doc("p0"),), copies)
    edit = edit_of(given_row, "relabel", [0, 1, 2])
    assert (edit.promoted, edit.copies, edit.keep) == ((1,), (0, 2), (3,))


def test_a_row_without_negatives_left_goes_where_the_format_needs_one() -> None:
    assert edit_of(row(2), "relabel", [0, 1]).dropped == "emptied"
    assert edit_of(row(2), "relabel", [0, 1], may_be_empty=True).dropped == ""
    # it never had one, so nobody took it
    assert edit_of(row(0), "relabel", []).dropped == ""


def test_unwanted_negatives_are_removed_and_do_not_count() -> None:
    edit = edit_of(row(9), "relabel", [1], unwanted=[*range(2, 9), 1], k=1)
    assert (edit.promoted, edit.removed, edit.keep) == ((1,), tuple(range(2, 9)), (0,))


OPERATIONS: list[Operation] = ["relabel", "remove_negative", "remove_row", "weight"]


@given(
    st.sampled_from(OPERATIONS),
    st.lists(st.integers(0, 5), min_size=0, max_size=9),
    st.sets(st.integers(0, 8)),
    st.sets(st.integers(0, 8)),
    st.integers(0, 9),
    st.booleans(),
)
def test_every_negative_is_in_one_place_and_a_second_run_changes_nothing(
    operation: Operation,
    texts: list[int],
    false: set[int],
    unwanted: set[int],
    k: int,
    may_be_empty: bool,
) -> None:
    negatives = tuple(doc(f"n{i}", f"text {t}") for i, t in enumerate(texts))
    before = TrainingRow(1, "q", "query", (doc("p", "text 0"),), negatives)
    bad, gone = ([at for at in sorted(s) if at < len(texts)] for s in (false, unwanted))
    edit = edit_of(before, operation, bad, gone, k, may_be_empty)
    places = sorted((*edit.keep, *edit.promoted, *edit.copies, *edit.removed))
    if not edit.dropped or edit.dropped == "emptied":
        assert places == list(range(len(texts)))
    found = edited(before, edit)
    if found is None:
        too_many = operation in ("relabel", "remove_negative") and len(bad) > k
        any_false = operation == "remove_row" and bool(bad)
        assert too_many or any_false or (not edit.keep and not may_be_empty)
        return
    assert len(found.positives) == 1 + len(edit.promoted)
    assert set(edit.promoted) | set(edit.copies) <= set(bad)
    if operation == "relabel":
        new = [d.text for d in found.positives]
        assert len(new) == len(set(new))
        assert {texts[at] for at in bad} <= {int(text.split()[1]) for text in new}
    assert edited(found, edit_of(found, operation, [], k=k)) == found

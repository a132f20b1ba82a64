from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.trainers.draw_config import ReplaceSection
from pyrite.trainers.replace import Replacer, is_learned
from pyrite.trainers.switches import Switches


@pytest.mark.parametrize(
    ("first", "now", "learned"),
    [
        (0.9, 0.8, False),  # .92 < .9 is false
        (0.9, 0.78, True),  # .897 < .9, and .78 < .8
        (1.0, 0.85, False),  # .9775 < 1, but .85 is over the ceiling
        (0.9, -0.81, False),  # its size is over the ceiling
        (0.9, -0.5, True),
        (-0.2, -0.3, False),  # 1.15 * -.3 < -.2: the ratio has turned round
        (0.0, -0.5, False),
        (np.nan, 0.1, False),
        (0.9, np.nan, False),
    ],
)
def test_the_rule_is_conan_s(first: float, now: float, learned: bool) -> None:
    found = is_learned(np.array([first], np.float32), np.array([now], np.float32), 1.15, 0.8)
    assert found.tolist() == [learned]


def replacer(folder: Path, lengths: list[int], n: int = 4, every: int = 5) -> Replacer:
    turns = Switches.create(folder / "turns.npy", len(lengths))
    return Replacer(ReplaceSection(every=every), turns, np.array(lengths), n)


def observe(rule: Replacer, scores: dict[int, float], turn: int = 0) -> None:
    rows = np.array(list(scores))
    values = np.array(list(scores.values()), np.float32)
    rule.observe(rows, np.full(rows.size, turn), values)


def test_a_row_is_compared_with_its_first_score_not_with_the_one_before(tmp_path: Path) -> None:
    rule = replacer(tmp_path, [40])
    for score in (0.75, 0.7, 0.66):
        observe(rule, {0: score})
        assert rule.check(5) == (0, 0)
    observe(rule, {0: 0.65})  # 1.15 * .65 = .7475 < .75
    assert rule.check(10) == (1, 0)


def test_a_replacement_is_in_force_at_the_next_check_and_starts_anew(tmp_path: Path) -> None:
    rule = replacer(tmp_path, [40, 40])
    observe(rule, {0: 0.7, 1: 0.7})
    observe(rule, {0: 0.3, 1: 0.69})
    assert rule.check(5) == (1, 0)
    rows = np.array([0, 1])
    assert rule.turns.at(rows, 9).tolist() == [0, 0]
    assert rule.turns.at(rows, 10).tolist() == [1, 0]
    observe(rule, {0: 0.01}, turn=0)  # of the old list, collated before
    assert np.isnan(rule.first[0])
    observe(rule, {0: 0.6}, turn=1)
    assert (rule.first[0], rule.now[0]) == (np.float32(0.6), np.float32(0.6))


def test_a_row_without_further_negatives_keeps_its_own_and_is_counted(tmp_path: Path) -> None:
    rule = replacer(tmp_path, [13, 14, 18])
    for score in (0.7, 0.1):
        observe(rule, {0: score, 1: score, 2: score})
    assert rule.check(5) == (2, 1)
    for score in (0.7, 0.1):
        observe(rule, {1: score, 2: score}, turn=1)
    assert rule.check(10) == (1, 2)
    assert rule.turns.latest(np.arange(3)).tolist() == [0, 1, 2]
    assert rule.replaced == 3


def test_a_row_without_negatives_has_no_score(tmp_path: Path) -> None:
    rule = replacer(tmp_path, [0, 40])
    observe(rule, {0: np.nan, 1: 0.5})
    assert np.isnan(rule.first[0])
    assert rule.check(5) == (0, 0)


def test_the_state_survives_a_checkpoint(tmp_path: Path) -> None:
    rule = replacer(tmp_path, [40, 40])
    observe(rule, {0: 0.7, 1: 0.7})
    observe(rule, {0: 0.3})
    rule.check(5)
    observe(rule, {1: 0.5})
    rule.save(tmp_path / "checkpoint")
    other = replacer(tmp_path / "other", [40, 40])
    other.load(tmp_path / "checkpoint")
    assert np.array_equal(other.turns.words, rule.turns.words)
    for name in ("first", "now"):
        assert np.array_equal(getattr(other, name), getattr(rule, name), equal_nan=True)
    assert other.check(10) == rule.check(10) == (1, 0)


@given(
    changes=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 32767)), max_size=6),
    step=st.integers(0, 400),
)
def test_a_switch_is_the_last_change_that_has_come_into_force(
    changes: list[tuple[int, int]], step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    switches = Switches.create(tmp_path_factory.mktemp("s") / "words.npy", 3)
    since, wanted, place = 0, 0, np.array([1])
    for gap, value in changes:
        if since > step:
            break  # a change is made once the one before is in force
        since += gap
        switches.change(place, [value], since)
        wanted = value if since <= step else wanted
    assert switches.at(place, step).tolist() == [wanted]
    assert switches.at(np.array([0, 2]), step).tolist() == [0, 0]


def test_a_copy_of_a_switch_in_another_process_sees_its_changes(tmp_path: Path) -> None:
    switches = Switches.create(tmp_path / "words.npy", 100_000)
    data = pickle.dumps(switches)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert copy.latest(np.array([7])).tolist() == [0]
    switches.change(np.array([7]), [3], 12)
    assert copy.latest(np.array([7])).tolist() == [3]

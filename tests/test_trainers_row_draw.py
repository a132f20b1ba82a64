from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.rng import gumbel
from pyrite.trainers.row_draw import (
    ROTATION,
    SAMPLE,
    hashes,
    replaced_columns,
    rotated_columns,
    sampled_columns,
)


def pools(lengths: list[int], width: int) -> np.ndarray:
    """Rows of documents 0, 1, .., -1 behind each row's length."""
    places = np.arange(width)
    return np.where(places < np.array(lengths)[:, None], places + 100, -1).astype(np.int64)


def keys_of(ids: np.ndarray, seed: int = 0, epoch: int = 0, purpose: int = ROTATION) -> np.ndarray:
    queries = np.arange(len(ids), dtype=np.uint64)
    return hashes(seed, epoch, purpose, queries, ids.astype(np.uint64))


def rotated(length: int, keys: list[int], epoch: int, n: int) -> list[int]:
    """The oracle: a shuffled list, turned by hand."""
    if length <= n:
        return list(range(length)) + [-1] * (n - length)
    shuffled = sorted(range(length), key=lambda place: keys[place])
    turned = shuffled * (n + 1)
    start = epoch * n % length
    return turned[start : start + n]


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    n=st.integers(1, 6),
    epoch=st.integers(0, 40),
)
def test_a_rotation_is_what_a_list_turned_by_hand_gives(
    lengths: list[int], n: int, epoch: int
) -> None:
    ids = pools(lengths, 9)
    keys = keys_of(ids)
    wanted = [rotated(k, keys[row].tolist(), epoch, n) for row, k in enumerate(lengths)]
    assert rotated_columns(ids, keys, epoch, n).tolist() == wanted


def test_over_as_many_epochs_as_it_takes_each_negative_comes_once() -> None:
    ids = pools([12, 12], 12)
    slices = [rotated_columns(ids, keys_of(ids), epoch, 4) for epoch in range(3)]
    seen = np.sort(np.concatenate(slices, axis=1), axis=1)
    assert seen.tolist() == [list(range(12))] * 2
    again = rotated_columns(ids, keys_of(ids), 3, 4)
    assert np.array_equal(again, slices[0])
    # a shuffle, another one for each query
    assert slices[0].tolist()[0] != slices[0].tolist()[1]


@given(length=st.integers(1, 12), n=st.integers(1, 12))
def test_a_rotation_uses_all_alike_and_repeats_none_in_a_row(length: int, n: int) -> None:
    ids = pools([length], 12)
    counts = np.zeros(12, dtype=int)
    for epoch in range(length):
        columns = rotated_columns(ids, keys_of(ids), epoch, n)[0]
        drawn = columns[columns >= 0]
        assert len(set(drawn.tolist())) == drawn.size == min(n, length)
        counts[drawn] += 1
    assert set(counts[:length].tolist()) == {min(n, length)}
    assert not counts[length:].any()


def test_a_sample_is_the_largest_of_log_probability_and_noise() -> None:
    ids = pools([6, 3, 0], 6)
    probabilities = np.where(ids >= 0, np.float32(0.5) ** np.arange(6), 0).astype(np.float32)
    bits = keys_of(ids, epoch=2, purpose=SAMPLE)
    found = sampled_columns(ids, probabilities, bits, 4)
    noise = gumbel(bits)
    for row, length in enumerate((6, 3, 0)):
        keys = {c: math.log(probabilities[row, c]) + noise[row, c] for c in range(length)}
        wanted = sorted(keys, key=lambda c: -keys[c])[:4]
        assert found[row].tolist() == wanted + [-1] * (4 - len(wanted))


def test_what_has_no_probability_comes_last_and_is_not_lost() -> None:
    ids = np.tile(np.arange(6), (200, 1))
    probabilities = np.tile(np.array([0, 0.999, 0, 1e-45, 0, 0.001], np.float32), (200, 1))
    bits = keys_of(ids, purpose=SAMPLE)
    found = sampled_columns(ids, probabilities, bits, 6)
    assert np.array_equal(np.sort(found[:, :3], axis=1), np.tile([1, 3, 5], (200, 1)))
    assert np.array_equal(np.sort(found[:, 3:], axis=1), np.tile([0, 2, 4], (200, 1)))
    assert len({tuple(row) for row in found[:, 3:].tolist()}) == 6


def test_samples_follow_the_probabilities_and_change_with_the_epoch() -> None:
    ids = np.tile(np.arange(3), (4000, 1))
    probabilities = np.tile(np.array([0.6, 0.3, 0.1], np.float32), (4000, 1))
    first = sampled_columns(ids, probabilities, keys_of(ids, epoch=0, purpose=SAMPLE), 1)
    shares = np.bincount(first[:, 0], minlength=3) / 4000
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    second = sampled_columns(ids, probabilities, keys_of(ids, epoch=1, purpose=SAMPLE), 1)
    assert 0.3 < (first == second).mean() < 0.6


def test_the_second_replacement_of_four_takes_ranks_14_to_17() -> None:
    ids = pools([40, 16], 40)
    turns = np.array([0, 0])
    assert replaced_columns(ids, turns, 4).tolist() == [[0, 1, 2, 3]] * 2
    assert replaced_columns(ids, turns + 1, 4).tolist() == [[10, 11, 12, 13]] * 2
    assert replaced_columns(ids, turns + 2, 4).tolist() == [[14, 15, 16, 17], [14, 15, -1, -1]]

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.rng import combine, gumbel, splitmix64, stream, uniform

GAMMA = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
WORDS = st.integers(0, MASK)

# what the authors' C program prints for this seed
REFERENCE_SEED = 1234567
REFERENCE = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def splitmix_oracle(state: int) -> int:
    z = (state + GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def combine_oracle(left: int, right: int) -> int:
    return splitmix_oracle(splitmix_oracle(left) ^ right)


def words(*values: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    return np.array(values, dtype=np.uint64)


def test_splitmix64_gives_the_published_stream() -> None:
    states = words(*((REFERENCE_SEED + i * GAMMA) & MASK for i in range(len(REFERENCE))))
    assert splitmix64(states).tolist() == REFERENCE


@given(st.lists(WORDS, min_size=1, max_size=20))
def test_splitmix64_equals_whole_number_arithmetic(states: list[int]) -> None:
    found = splitmix64(words(*states))
    assert found.dtype == np.uint64
    assert found.tolist() == [splitmix_oracle(s) for s in states]


@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, min_size=1, max_size=5))
def test_combine_broadcasts_and_equals_whole_number_arithmetic(
    left: list[int], right: list[int]
) -> None:
    found = combine(words(*left)[:, None], words(*right)[None, :])
    assert found.tolist() == [[combine_oracle(a, b) for b in right] for a in left]


@given(WORDS, WORDS)
def test_combine_tells_left_from_right(left: int, right: int) -> None:
    if left != right:
        assert combine(words(left), words(right)) != combine(words(right), words(left))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31), st.integers(0, 8))
def test_stream_hashes_seed_generation_and_purpose(
    seed: int, generation: int, purpose: int
) -> None:
    expected = combine_oracle(combine_oracle(splitmix_oracle(seed), generation), purpose)
    assert int(stream(seed, generation, purpose)) == expected


def test_streams_of_neighbouring_arguments_differ() -> None:
    found = {int(stream(s, g, p)) for s in range(10) for g in range(10) for p in range(4)}
    assert len(found) == 400


def test_hashing_passes_no_overflow_warning_on() -> None:
    with np.errstate(over="raise"):
        splitmix64(np.asarray(MASK, dtype=np.uint64))
        stream(2**63 - 1, 2**31, 3)


@given(st.one_of(WORDS, st.integers(0, 2**14), st.integers(MASK - 2**14, MASK)))
def test_uniform_stays_inside_the_open_interval(bits: int) -> None:
    value = float(uniform(words(bits))[0])
    assert 0.0 < value < 1.0
    assert value == pytest.approx(bits / 2**64, abs=2.0**-51)


@pytest.mark.parametrize("bits", [0, 1, 2**63, MASK - 2**12, MASK - 2**11, MASK - 1, MASK])
def test_gumbel_noise_is_finite_at_the_ends(bits: int) -> None:
    noise = float(gumbel(words(bits))[0])
    assert -3.7 < noise < 37.5


@given(st.lists(WORDS, min_size=1, max_size=20))
def test_gumbel_equals_its_definition(bits: list[int]) -> None:
    expected = [-math.log(-math.log(float(u))) for u in uniform(words(*bits))]
    assert gumbel(words(*bits)) == pytest.approx(expected, rel=1e-12)


def test_uniform_fills_its_bins_evenly() -> None:
    values = uniform(combine(stream(0, 0), np.arange(64_000)))
    counts, _ = np.histogram(values, bins=64, range=(0.0, 1.0))
    # chi-square with 63 degrees of freedom: 140 has a chance of about one in ten million
    assert float(((counts - 1000.0) ** 2 / 1000.0).sum()) < 140


def test_gumbel_noise_has_the_right_mean_and_spread() -> None:
    noise = gumbel(combine(stream(1, 0), np.arange(100_000)))
    assert float(noise.mean()) == pytest.approx(0.57722, abs=0.02)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.05)


def test_noise_of_neighbouring_counters_is_uncorrelated() -> None:
    values = uniform(combine(stream(2, 0), np.arange(100_000)))
    assert abs(float(np.corrcoef(values[1:], values[:-1])[0, 1])) < 0.02

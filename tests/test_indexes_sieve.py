from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.encoder import F32
from pyrite.indexes.sieve import Sieve

TYPES = [torch.float32, torch.bfloat16]


def sieved(scores: torch.Tensor, width: int, tile: int) -> tuple[np.ndarray, F32]:
    sieve = Sieve(scores.shape[0], width, scores.dtype)
    for first in range(0, scores.shape[1], tile):
        sieve.add(scores[:, first : first + tile], first)
    return sieve.best()


def check(scores: torch.Tensor, width: int, tile: int) -> None:
    """The same scores as sorting every row; ids may differ only where scores tie."""
    ids, best = sieved(scores, width, tile)
    plain = scores.float().numpy()
    expected = -np.sort(-plain, axis=1)[:, :width]
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(np.take_along_axis(plain, ids, axis=1), best)
    assert all(len(set(row.tolist())) == expected.shape[1] for row in ids)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@given(
    seed=st.integers(0, 99),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 400)),
    width=st.integers(1, 40),
    tile=st.integers(1, 400),
    levels=st.sampled_from([2, 9, 100_000]),
)
def test_any_matrix_any_tiles(
    dtype: torch.dtype, seed: int, shape: tuple[int, int], width: int, tile: int, levels: int
) -> None:
    values = np.random.default_rng(seed).integers(-levels, levels, shape)
    check(torch.from_numpy(values / 7.0).to(dtype), width, tile)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("tile", [64, 100, 512, 1000])
@pytest.mark.parametrize("width", [1, 3, 10, 30])
def test_rows_that_rise_fall_repeat_or_cluster(dtype: torch.dtype, tile: int, width: int) -> None:
    columns = torch.arange(2000, dtype=torch.float32)
    rows = [
        columns,
        -columns,
        torch.zeros(2000),
        columns % 64,
        (columns // 500) % 2,
        torch.where((columns > 700) & (columns < 790), columns, -columns),
        torch.randn(2000, generator=torch.Generator().manual_seed(0)),
    ]
    check(torch.stack(rows).to(dtype), width, tile)
    for row in rows:
        check(row[None].to(dtype), width, tile)


@pytest.mark.parametrize("rising", [True, False])
def test_what_is_kept_does_not_grow_with_the_columns(rising: bool) -> None:
    """Scores that rise along the corpus would keep every column if nothing was cut."""
    width, rows = 8, 16
    sieve = Sieve(rows, width, torch.float32)
    for first in range(0, 40_000, 400):
        columns = torch.arange(first, first + 400, dtype=torch.float32).expand(rows, -1)
        sieve.add(columns if rising else -columns, first)
        assert sieve._waiting <= 4 * width * rows
    ids, _ = sieve.best()
    expected = np.arange(39_999, 39_991, -1) if rising else np.arange(8)
    np.testing.assert_array_equal(ids, np.tile(expected, (rows, 1)))

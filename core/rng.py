"""Counter-based noise: a pure hash of (seed, generation, query id, document id).

No generator state exists, so order, threads, shards and resumes cannot change a draw.
splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-52


def splitmix64(state: npt.NDArray[Any]) -> U64:
    """The splitmix64 output for each state: uint64 in, uint64 out, wrapping arithmetic."""
    # a copy that is changed in place: temporaries would cost more than the arithmetic
    z = np.array(state, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z += _GAMMA
        z ^= z >> np.uint64(30)
        z *= _MIX_A
        z ^= z >> np.uint64(27)
        z *= _MIX_B
        z ^= z >> np.uint64(31)
    return z


def combine(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> U64:
    """Hash two broadcastable uint64 arrays into one; order matters."""
    return splitmix64(splitmix64(left) ^ right.astype(np.uint64))


def stream(seed: int, generation: int, purpose: int = 0) -> U64:
    """The uint64 scalar that all draws of one seed, generation and purpose start from."""
    root = splitmix64(np.asarray(seed % 2**64, dtype=np.uint64))
    return combine(
        combine(root, np.asarray(generation, dtype=np.uint64)), np.asarray(purpose, dtype=np.uint64)
    )


def uniform(bits: U64) -> npt.NDArray[np.float64]:
    """Uniform in the open interval (0, 1): 52 bits and a half, so 0 and 1 cannot be rounded to."""
    value = np.asarray((bits >> np.uint64(12)).astype(np.float64))
    value += 0.5
    value *= _TO_UNIT
    return value


def gumbel(bits: U64) -> npt.NDArray[np.float64]:
    """Standard Gumbel noise, -log(-log(u)); within [-3.7, 37.5] for every hash value."""
    noise = np.asarray(np.log(uniform(bits)))
    np.negative(noise, out=noise)
    np.log(noise, out=noise)
    return np.asarray(np.negative(noise, out=noise))

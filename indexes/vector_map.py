"""A map from the vectors of one model to those of a later one, fitted on texts that both encoded.

Ridge regression towards the identity: the less was seen, the closer the map stays to doing nothing
but moving the mean. The strength of the pull is chosen by the exact leave-one-out error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.encoder import F32
from ..core.errors import PyriteError

F64 = npt.NDArray[np.float64]

# in units of the mean variance of a direction times the number of texts
RIDGES = tuple(10.0**power for power in np.arange(-4.0, 4.5, 0.5).tolist())
_BLOCK = 16_384


@dataclass(frozen=True, slots=True)
class VectorMap:
    """`x -> x + (x - center) @ weights + shift`, float64 [D], [D, D], [D].

    `error` is the root mean square distance of the mapped vector of a text that was left out to
    its true one; `identity_error` the same for doing nothing.
    """

    center_D: F64
    weights_DD: F64
    shift_D: F64
    ridge: float
    error: float
    identity_error: float

    def apply(self, stale_ND: F32) -> F32:
        """Mapped vectors, float32 [N, D], of the length that the stale ones had."""
        stale = stale_ND.astype(np.float64)
        moved = stale + (stale - self.center_D) @ self.weights_DD + self.shift_D
        before = np.linalg.norm(stale, axis=1)
        after = np.linalg.norm(moved, axis=1)
        moved *= (before / np.where(after > 0, after, 1.0))[:, None]
        return np.asarray(moved, dtype=np.float32)


def fit_map(stale_SD: F32, fresh_SD: F32) -> VectorMap:
    """The map that the pairs (row of `stale_SD`, row of `fresh_SD`) ask for.

    Memory: three float64 [D, D] and blocks of rows. The leave-one-out error is that of the map
    before lengths are restored. Raises PyriteError for fewer than 2 pairs or unequal shapes.
    """
    if stale_SD.shape != fresh_SD.shape or stale_SD.ndim != 2 or len(stale_SD) < 2:
        raise PyriteError(
            f"a map needs two vectors or more of each model, and got {stale_SD.shape} and"
            f" {fresh_SD.shape}; raise refresh.partial.share"
        )
    center = stale_SD.mean(axis=0, dtype=np.float64)
    shift = fresh_SD.mean(axis=0, dtype=np.float64) - center

    def blocks() -> Iterator[tuple[F64, F64]]:
        for start in range(0, len(stale_SD), _BLOCK):
            stale = stale_SD[start : start + _BLOCK].astype(np.float64)
            residual = fresh_SD[start : start + _BLOCK].astype(np.float64) - stale - shift
            yield stale - center, residual

    gram = np.zeros((center.size, center.size))
    cross = np.zeros_like(gram)
    for x, residual in blocks():
        gram += x.T @ x
        cross += x.T @ residual
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    rotated = vectors.T @ cross
    scale = float(values.mean()) or 1.0
    ridges = np.array(RIDGES) * scale
    errors = _left_out(blocks, len(stale_SD), vectors, values, rotated, ridges)
    best = int(errors.argmin())
    weights = vectors @ (rotated / (values + ridges[best])[:, None])
    moved = sum(float(np.square(r + shift).sum()) for _, r in blocks()) / len(stale_SD)
    return VectorMap(
        center, weights, shift, RIDGES[best], float(np.sqrt(errors[best])), float(np.sqrt(moved))
    )


def _left_out(
    blocks: Callable[[], Iterator[tuple[F64, F64]]],
    size: int,
    vectors: F64,
    values: F64,
    rotated: F64,
    ridges: F64,
) -> F64:
    """Mean squared leave-one-out error of each ridge, in closed form: residual / (1 - leverage)."""
    total = np.zeros(ridges.size)
    for x, residual in blocks():
        turned = x @ vectors
        squared = np.square(turned)
        for at, ridge in enumerate(ridges):
            shrunk = 1.0 / (values + ridge)
            leverage = squared @ shrunk + 1.0 / size
            missed = residual - (turned * shrunk) @ rotated
            # a leverage of 1 is a text that decides its own place: nothing is known about it
            kept = np.maximum(1.0 - leverage, 1e-9)
            total[at] += float((np.square(missed).sum(axis=1) / np.square(kept)).sum())
    return total / size

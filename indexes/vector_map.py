"""A map from the vectors of one model to those of a later one, fitted on texts that both encoded.

What moved is learned by ridge regression on features of the stale vector: the vector itself, or its
Gaussian similarities to landmarks (Nystroem approximation of kernel ridge regression, Williams &
Seeger, NIPS 2000). The pull is towards the identity, and its strength is chosen by the exact
leave-one-out error. Unit vectors stay unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.encoder import F32
from ..core.errors import PyriteError

F64 = npt.NDArray[np.float64]
Blocks = Iterator[tuple[F64, F64]]

# in units of the mean of the features' eigenvalues
RIDGES = tuple(10.0**power for power in np.arange(-4.0, 4.5, 0.5).tolist())
_BLOCK = 4_096
_JUDGED = 8_192  # rows that the ridge is chosen by; more change a mean little
_FLOOR = 1e-6  # of the largest eigenvalue; landmarks may repeat


@dataclass(frozen=True, slots=True)
class Features:
    """The stale vector (`landmarks_MD` is None), or `exp(-|x - z|^2 / spread)` for M landmarks z.

    `turn` makes similarities to landmarks features whose inner product is the kernel.
    """

    landmarks_MD: F64 | None
    turn_MM: F64 | None
    spread: float

    @classmethod
    def of(cls, stale_SD: F32, landmarks: int) -> Features:
        """`landmarks` rows spread evenly over the given ones (all of fewer); 0: the vector."""
        if not landmarks:
            return cls(None, None, 1.0)
        places = np.linspace(0, len(stale_SD) - 1, min(landmarks, len(stale_SD))).astype(np.int64)
        chosen = stale_SD[places].astype(np.float64)
        distances = _squared_distances(chosen, chosen)
        spread = float(distances.mean()) or 1.0
        values, vectors = np.linalg.eigh(np.exp(-distances / spread))
        values = np.maximum(values, _FLOOR * values[-1])
        return cls(chosen, vectors / np.sqrt(values), spread)

    def __call__(self, stale_BD: F32) -> F64:
        """Features of some vectors, float64 [B, F]."""
        found = self.plain(stale_BD)
        return found if self.turn_MM is None else found @ self.turn_MM

    def plain(self, stale_BD: F32) -> F64:
        """Features that are not turned: the vector, or its similarities; float64 [B, F]."""
        stale = stale_BD.astype(np.float64)
        if self.landmarks_MD is None:
            return stale
        return np.asarray(np.exp(-_squared_distances(stale, self.landmarks_MD) / self.spread))


@dataclass(frozen=True, slots=True)
class VectorMap:
    """`x -> x + shift + (features(x) - center) @ weights`: float64 [D], [F], [F, D].

    `error` is the root mean square distance between the mapped and the true vector of a text that
    was left out, before lengths are restored; `identity_error` the same for doing nothing. `size`
    texts were fitted; `inverse_FF` is the inverse of their regularised Gram matrix.
    """

    features: Features
    center_F: F64
    weights_FD: F64
    shift_D: F64
    inverse_FF: F64
    size: int
    unit: bool
    ridge: float
    error: float
    identity_error: float

    def apply(self, stale_BD: F32) -> F32:
        """Mapped vectors of a block, float32 [B, D]."""
        plain = self.features.plain(stale_BD)
        turn = self.features.turn_MM
        # few columns first: turning the similarities of every document would cost far more
        weights = self.weights_FD if turn is None else turn @ self.weights_FD
        moved = plain @ weights - self.center_F @ self.weights_FD
        return self._finish(stale_BD.astype(np.float64) + self.shift_D + moved)

    def left_out(self, stale_BD: F32, fresh_BD: F32) -> F32:
        """What fitted texts would be mapped to by a map fitted without them, float32 [B, D].

        Each by the map of all others, with the same ridge and features: residual / (1 - leverage).
        Memory: features of a block.
        """
        blocks = zip(_cut(stale_BD), _cut(fresh_BD), strict=True)
        parts = [self._block_left_out(stale, fresh) for stale, fresh in blocks]
        return np.concatenate(parts) if parts else np.empty_like(stale_BD)

    def _block_left_out(self, stale_BD: F32, fresh_BD: F32) -> F32:
        found = self.features(stale_BD)
        centered = found - self.center_F
        leverage = ((centered @ self.inverse_FF) * centered).sum(axis=1) + 1.0 / self.size
        fresh = fresh_BD.astype(np.float64)
        missed = fresh - stale_BD - self.shift_D - centered @ self.weights_FD
        return self._finish(fresh - missed / np.maximum(1.0 - leverage, _FLOOR)[:, None])

    def _finish(self, vectors_BD: F64) -> F32:
        if self.unit:
            norms = np.linalg.norm(vectors_BD, axis=1, keepdims=True)
            vectors_BD = vectors_BD / np.where(norms > 0, norms, 1.0)
        return np.asarray(vectors_BD, dtype=np.float32)


def fit_map(stale_SD: F32, fresh_SD: F32, landmarks: int = 0) -> VectorMap:
    """The map that the pairs (row of `stale_SD`, row of `fresh_SD`) ask for.

    Memory: six float64 [F, F] and blocks of rows; F is D, or the number of landmarks. Raises
    PyriteError for fewer than 2 pairs or unequal shapes.
    """
    if stale_SD.shape != fresh_SD.shape or stale_SD.ndim != 2 or len(stale_SD) < 2:
        raise PyriteError(
            f"a map needs two vectors or more of each model, and got {stale_SD.shape} and"
            f" {fresh_SD.shape}; raise refresh.partial.share"
        )
    features = Features.of(stale_SD, landmarks)
    stale_mean = stale_SD.mean(axis=0, dtype=np.float64)
    shift = fresh_SD.mean(axis=0, dtype=np.float64) - stale_mean
    total = sum(features(block).sum(axis=0) for block in _cut(stale_SD))
    center = np.asarray(total / len(stale_SD))

    def blocks(step: int = 1) -> Blocks:
        for stale, fresh in zip(_cut(stale_SD[::step]), _cut(fresh_SD[::step]), strict=True):
            residual = fresh.astype(np.float64) - stale.astype(np.float64) - shift
            yield features(stale) - center, residual

    gram = np.zeros((center.size, center.size))
    cross = np.zeros((center.size, shift.size))
    moved = 0.0
    for x, residual in blocks():
        gram += x.T @ x
        cross += x.T @ residual
        moved += float(np.square(residual + shift).sum())
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    ridges = np.array(RIDGES) * (float(values.mean()) or 1.0)
    step = -(-len(stale_SD) // _JUDGED)
    errors = _left_out_errors(
        blocks(step), len(stale_SD), vectors, values, vectors.T @ cross, ridges
    )
    best = int(errors.argmin())
    inverse = (vectors / (values + ridges[best])) @ vectors.T
    return VectorMap(
        features=features,
        center_F=center,
        weights_FD=inverse @ cross,
        shift_D=shift,
        inverse_FF=inverse,
        size=len(stale_SD),
        unit=bool(np.abs(np.linalg.norm(fresh_SD, axis=1) - 1.0).max() < 1e-3),
        ridge=RIDGES[best],
        error=float(np.sqrt(errors[best])),
        identity_error=float(np.sqrt(moved / len(stale_SD))),
    )


def _left_out_errors(
    blocks: Blocks, size: int, vectors: F64, values: F64, turned_cross: F64, ridges: F64
) -> F64:
    """Mean squared leave-one-out error of each ridge, in closed form."""
    total, rows = np.zeros(ridges.size), 0
    for x, residual in blocks:
        rows += len(x)
        turned = x @ vectors
        squared = np.square(turned)
        for at, ridge in enumerate(ridges):
            shrunk = 1.0 / (values + ridge)
            # a leverage of 1 is a text that decides its own place: nothing is known about it
            kept = np.maximum(1.0 - squared @ shrunk - 1.0 / size, _FLOOR)
            missed = residual - (turned * shrunk) @ turned_cross
            total[at] += float((np.square(missed).sum(axis=1) / np.square(kept)).sum())
    return total / rows


def _squared_distances(left: F64, right: F64) -> F64:
    norms = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)[None, :]
    return np.asarray(np.maximum(norms - 2.0 * (left @ right.T), 0.0))


def _cut(rows_SD: F32) -> Iterator[F32]:
    for start in range(0, len(rows_SD), _BLOCK):
        yield rows_SD[start : start + _BLOCK]

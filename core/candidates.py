"""What the stages hand to each other: candidates, reasons, negatives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from .encoder import F32
from .errors import PyriteError
from .ids import I64

PAD_ID = -1


class Reason(IntFlag):
    """Why a candidate may not become a negative; 0 keeps it. Computed from untouched scores."""

    PAD = 1
    NONFINITE = 2
    POSITIVE = 4
    SAME_TEXT = 8
    DUPLICATE = 16
    MARGIN = 32
    PERCENT = 64
    MAX_SCORE = 128


# what excludes a document whatever the scores say; rank windows count the others
STRUCTURAL = Reason.PAD | Reason.NONFINITE | Reason.POSITIVE | Reason.SAME_TEXT | Reason.DUPLICATE


@dataclass(frozen=True, slots=True)
class Candidates:
    """Retrieved documents of Q queries: rows by (score descending, document id ascending).

    `query_rows` int64 [Q]; `ids` int64 [Q, K], padded with -1; `scores` float32 [Q, K], padded
    with -inf; `source` names the retriever; `generation` is 0 before any refresh.
    """

    query_rows: I64
    ids: I64
    scores: F32
    source: str
    generation: int = 0

    def check(self) -> None:
        """Raise PyriteError if a shape, the padding, the order or the uniqueness is broken."""
        if self.ids.shape != self.scores.shape or self.query_rows.shape != self.ids.shape[:1]:
            raise PyriteError(
                f"candidates: ids {self.ids.shape}, scores {self.scores.shape} and queries"
                f" {self.query_rows.shape} do not belong together"
            )
        pad = self.ids == PAD_ID
        if not np.array_equal(pad, np.isneginf(self.scores)):
            raise PyriteError("candidates: id -1 and score -inf must stand in the same places")
        if (self.scores[:, 1:] > self.scores[:, :-1]).any():
            raise PyriteError("candidates: scores of a row must descend")
        ordered = np.sort(self.ids, axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD_ID)).any():
            raise PyriteError("candidates: a document stands twice in one row")

    def block(self, start: int, stop: int) -> Candidates:
        """Rows `start` to `stop` as in-memory arrays."""
        return Candidates(
            np.asarray(self.query_rows[start:stop]),
            np.asarray(self.ids[start:stop], dtype=np.int64),
            np.asarray(self.scores[start:stop]),
            self.source,
            self.generation,
        )


@dataclass(frozen=True, slots=True)
class Negatives:
    """Chosen hard negatives of Q queries, best draw first; -1, -inf, rank 0 where there is none.

    `ids` int64 [Q, n]; `scores` float32 [Q, n]; `ranks` int32 [Q, n], 1 is the top candidate, 0 is
    padding or unknown (a random document); `probabilities` float32 [Q, n], the chance of the first
    draw; `tiers` uint8 [Q, n], 0 is the configured sampler; `pos_scores` float32 [Q].
    """

    query_rows: I64
    ids: I64
    scores: F32
    ranks: npt.NDArray[np.int32]
    probabilities: F32
    tiers: npt.NDArray[np.uint8]
    pos_scores: F32
    source: str
    generation: int = 0

    def counts(self) -> I64:
        """Number of negatives of each query, int64 [Q]."""
        return np.asarray((self.ids != PAD_ID).sum(axis=1), dtype=np.int64)

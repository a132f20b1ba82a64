"""What the stages hand to each other: candidates, reasons, negatives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from .encoder import F32
from .errors import PyriteError
from .ids import I64

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
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
    CLUSTER = 256
    NEAR_DUPLICATE = 512
    TWO_CONDITIONS = 1024
    CLUSTER_FALSE_NEGATIVE = 2048
    DENOISED = 4096


# what excludes a document whatever the scores say; rank windows count the others
STRUCTURAL = Reason.PAD | Reason.NONFINITE | Reason.POSITIVE | Reason.SAME_TEXT | Reason.DUPLICATE


@dataclass(frozen=True, slots=True)
class Candidates:
    """Retrieved documents of Q queries, best first.

    `query_rows` int64 [Q]; `ids` int64 [Q, K], padded with -1 at the end; `scores` float32 [Q, K],
    the encoder's similarity (without an encoder the source's own score), padded with -inf;
    `source` uint8 [Q, K] numbers the entry of `sources` that ranked the document best;
    `source_rank` int32 [Q, K] is its rank there, from 1, 0 for a source without ranks. Rows are in
    the order of the fusion; with one source that is (score descending, document id ascending), or
    the positive's neighbours where that source searches with a positive.
    `generation` is 0 before any refresh. `positive_rows` int64 [Q] is there if each row stands for
    one positive of its query, whose row in the corpus it is.
    """

    query_rows: I64
    ids: I64
    scores: F32
    source: U8
    source_rank: I32
    sources: tuple[str, ...]
    generation: int = 0
    positive_rows: I64 | None = None

    @classmethod
    def of_one(
        cls, query_rows: I64, ids: I64, scores: F32, source: str, generation: int = 0
    ) -> Candidates:
        """Candidates of a single source in its own order."""
        ranks = np.where(ids != PAD_ID, np.arange(1, ids.shape[1] + 1, dtype=np.int32), 0)
        alone = np.zeros(ids.shape, dtype=np.uint8)
        return cls(query_rows, ids, scores, alone, ranks.astype(np.int32), (source,), generation)

    def check(self) -> None:
        """Raise PyriteError if a shape, the padding or the uniqueness is broken."""
        shapes = {a.shape for a in (self.ids, self.scores, self.source, self.source_rank)}
        if len(shapes) > 1 or self.query_rows.shape != self.ids.shape[:1]:
            raise PyriteError(
                f"candidates: shapes {sorted(shapes)} and {self.query_rows.size} queries do not"
                " belong together"
            )
        pad = self.ids == PAD_ID
        if not np.array_equal(pad, np.isneginf(self.scores)):
            raise PyriteError("candidates: id -1 and score -inf must stand in the same places")
        if (pad[:, :-1] & ~pad[:, 1:]).any():
            raise PyriteError("candidates: padding must stand at the end of a row")
        if (self.source >= len(self.sources)).any():
            raise PyriteError(f"candidates: a source number is over {len(self.sources) - 1}")
        ordered = np.sort(self.ids, axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD_ID)).any():
            raise PyriteError("candidates: a document stands twice in one row")

    def block(self, start: int, stop: int) -> Candidates:
        """Rows `start` to `stop` as in-memory arrays."""
        return self._part(slice(start, stop))

    def rows(self, places: I64) -> Candidates:
        """The rows at `places` as in-memory arrays."""
        return self._part(places)

    def _part(self, part: slice | I64) -> Candidates:
        return Candidates(
            np.asarray(self.query_rows[part]),
            np.asarray(self.ids[part], dtype=np.int64),
            np.asarray(self.scores[part]),
            np.asarray(self.source[part]),
            np.asarray(self.source_rank[part]),
            self.sources,
            self.generation,
            None if self.positive_rows is None else self.positive_rows[part],
        )


@dataclass(frozen=True, slots=True)
class Negatives:
    """Chosen hard negatives of Q queries, best draw first; -1, -inf, rank 0 where there is none.

    `ids` int64 [Q, n]; `scores` float32 [Q, n]; `ranks` int32 [Q, n], 1 is the source's top
    document, 0 is padding or unknown (a random document); `source` uint8 [Q, n] numbers `sources`;
    `probabilities` float32 [Q, n], the chance of the first draw; `tiers` uint8 [Q, n], 0 is the
    configured sampler; `pos_scores` float32 [Q]. `positive_rows` as in `Candidates`.
    """

    query_rows: I64
    ids: I64
    scores: F32
    ranks: I32
    source: U8
    probabilities: F32
    tiers: U8
    pos_scores: F32
    sources: tuple[str, ...]
    generation: int = 0
    positive_rows: I64 | None = None

    def counts(self) -> I64:
        """Number of negatives of each query, int64 [Q]."""
        return np.asarray((self.ids != PAD_ID).sum(axis=1), dtype=np.int64)

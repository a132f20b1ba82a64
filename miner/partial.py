"""A partial refresh: vectors that are close to a new model's, for a share of the encoding.

The rest is mapped from stale vectors, by a map fitted on what was encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import combine, stream
from ..indexes.config import IndexConfig
from ..indexes.dense import DenseIndex, open_exact
from ..indexes.vector_map import VectorMap, fit_map
from .partial_choice import border_weights, borders, random_order
from .partial_config import PartialSection
from .partial_overlap import estimate_overlap

EncodeRows = Callable[[I64], F32]

_BLOCK = 8192
_PURPOSE = 12
_ERROR_QUERIES = 256
# candidates of a query that may be near its border
_WIDTH = 3


@dataclass(frozen=True, slots=True)
class PartialReport:
    """What a refresh encoded and how good its vectors are estimated to be.

    `overlap` is the estimated mean share of the true top `depth` that is found, over `queries`
    queries; None where nothing is left to estimate it from. `error` and `stale_error` are root mean
    square distances to the true vector, of mapped and of stale vectors. `full`: a full refresh is
    called for, as `message` says.
    """

    kind: str
    documents: int
    encoded: int
    overlap: float | None
    depth: int
    queries: int
    error: float | None
    stale_error: float
    ridge: float | None
    full: bool = False
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def cheap_vectors(
    stale: Embeddings,
    encode: EncodeRows,
    queries_QD: F32,
    rank_N: I64,
    config: PartialSection,
    seed: int,
    generation: int = 0,
    out_ND: F32 | None = None,
) -> tuple[F32, PartialReport]:
    """Vectors of all documents, float32 [N, D], for `config.share` of the encoding, and a report.

    `stale` are the vectors of an earlier model, `encode(rows)` gives the new one's, float32
    [len(rows), D], and `queries_QD` are the new model's. `rank_N` is each row's place in ascending
    id order: nothing depends on the order of the rows. `out_ND` is where to write, such as a mapped
    file. If the overlap is not estimated to reach `config.min_overlap`, the report is `full`.
    Memory: one block, what was encoded, and the map.
    """
    work = _Work(stale, encode, queries_QD, rank_N, config, seed, generation, out_ND)
    by_rank = np.argsort(rank_N, kind="stable").astype(np.int64)
    drawn, share = work.first_sample(by_rank)
    work.add(drawn)
    found = work.map_all()
    sampled = drawn
    if config.kind == "choose":
        chosen = work.choose(found, drawn, share)
        work.add(np.setdiff1d(chosen, drawn))
        sampled = drawn[~np.isin(drawn, chosen)]
        found = work.map_all()
    work.fill()
    report = work.report(found, sampled)
    return work.out_ND, report


class _Work:
    """One refresh: `rows` ascending by rank are encoded, `fresh` are their vectors."""

    def __init__(
        self,
        stale: Embeddings,
        encode: EncodeRows,
        queries_QD: F32,
        rank_N: I64,
        config: PartialSection,
        seed: int,
        generation: int,
        out_ND: F32 | None,
    ) -> None:
        self.stale = stale
        self.encode = encode
        self.queries_QD = queries_QD
        self.rank_N = rank_N
        self.config = config
        self.seed = seed
        self.generation = generation
        shape = (len(stale), stale.dimension)
        self.out_ND: F32 = np.empty(shape, dtype=np.float32) if out_ND is None else out_ND
        self.rows = np.empty(0, dtype=np.int64)
        self.fresh = np.empty((0, stale.dimension), dtype=np.float32)

    def first_sample(self, by_rank: I64) -> tuple[I64, int]:
        """The rows that are drawn at random, and how many may be encoded in all."""
        size = len(by_rank)
        share = min(size, max(2, round(self.config.share * size)))
        part = 1.0 if self.config.kind == "map" else self.config.probe
        count = min(share, max(2, round(part * share)))
        order = by_rank[random_order(size, self.seed, self.generation)]
        return self._by_rank(order[:count]), share

    def add(self, rows: I64) -> None:
        """Encode more rows, in ascending id order."""
        rows = self._by_rank(rows)
        if not rows.size:
            return
        fresh = np.concatenate([self.fresh, self.encode(rows)])
        both = np.concatenate([self.rows, rows])
        order = np.argsort(self.rank_N[both], kind="stable")
        self.rows, self.fresh = both[order], fresh[order]

    def map_all(self) -> VectorMap | None:
        """Fit a map on what is encoded and write what it makes of everything."""
        found = None
        if self.config.kind != "queries":
            found = fit_map(self.stale.take(self.rows), self.fresh, self.config.landmarks)
        by_rank = np.argsort(self.rank_N, kind="stable")
        # in id order: a product rounds by the place of a row in its block
        for start in range(0, by_rank.size, _BLOCK):
            rows = by_rank[start : start + _BLOCK]
            stale = self.stale.take(rows)
            self.out_ND[rows] = stale if found is None else found.apply(stale)
        return found

    def choose(self, found: VectorMap | None, drawn: I64, share: int) -> I64:
        """The rows near most borders, as many as leave `share` with those that were drawn.

        For this the drawn rows are what they would be if they had not been drawn, so that chance
        alone tells them from the others, and they can stand for what is left out.
        """
        guesses = self._left_out(found, drawn)
        self.out_ND[drawn] = guesses
        queries = self._some_queries(_ERROR_QUERIES)
        error = float(np.std((guesses - self._fresh_of(drawn)) @ queries.T))
        depth = self.config.depth
        weights = border_weights(self._index(), self.queries_QD, depth, error, _WIDTH * depth + 32)
        # by rank where weights are equal
        order = np.lexsort((self.rank_N, -weights))
        order = order[weights[order] > 0]
        new = np.cumsum(~np.isin(order, drawn))
        return order[new <= share - drawn.size]

    def report(self, found: VectorMap | None, sampled: I64) -> PartialReport:
        """Estimate the overlap from `sampled`, a random part of what could have been left out."""
        exact = 0 if self.config.kind == "queries" else self.rows.size
        left = len(self.stale) - exact
        queries = self._some_queries(self.config.sample_queries)
        overlap = None
        if sampled.size or not left:
            known = (self._fresh_of(sampled), self._left_out(found, sampled))
            edges = borders(self._index(), queries, self.config.depth)
            weight = left / max(sampled.size, 1)
            shares = estimate_overlap(*known, weight, queries, edges, self.config.depth)
            overlap = float(shares.mean())
        message = self._shortfall(overlap)
        drift = np.linalg.norm(self.stale.take(self.rows) - self.fresh, axis=1)
        return PartialReport(
            kind=self.config.kind,
            documents=len(self.stale),
            encoded=int(self.rows.size),
            overlap=overlap,
            depth=self.config.depth,
            queries=len(queries),
            error=found.error if found else None,
            stale_error=float(np.sqrt(np.square(drift).mean())),
            ridge=found.ridge if found else None,
            full=bool(message),
            message=message,
        )

    def fill(self) -> None:
        """Write what was encoded in the place of guesses; stale vectors stay with their like."""
        if self.config.kind != "queries":
            self.out_ND[self.rows] = self.fresh

    def _index(self) -> DenseIndex:
        corpus = Embeddings((self.out_ND,), max(len(self.out_ND), 1), "")
        return open_exact(IndexConfig(), corpus, self.rank_N)

    def _shortfall(self, overlap: float | None) -> str:
        least = self.config.min_overlap
        if least is None or (overlap is not None and overlap >= least):
            return ""
        found = "unknown" if overlap is None else f"{overlap:.3f}"
        return (
            f"overlap@{self.config.depth} with a full refresh is {found}, below"
            f" refresh.partial.min_overlap={least}: every document is encoded; raise"
            " refresh.partial.share or refresh more often"
        )

    def _left_out(self, found: VectorMap | None, rows: I64) -> F32:
        """What encoded rows would have got if they had been left out."""
        stale = self.stale.take(rows)
        return stale if found is None else found.left_out(stale, self._fresh_of(rows))

    def _fresh_of(self, rows: I64) -> F32:
        places = np.searchsorted(self.rank_N[self.rows], self.rank_N[rows])
        return self.fresh[places]

    def _some_queries(self, count: int) -> F32:
        """At most `count` query vectors, drawn by the seed."""
        size = len(self.queries_QD)
        noise = combine(stream(self.seed, self.generation, _PURPOSE), np.arange(size))
        return self.queries_QD[np.sort(np.argsort(noise, kind="stable")[:count])]

    def _by_rank(self, rows: I64) -> I64:
        return rows[np.argsort(self.rank_N[rows], kind="stable")]

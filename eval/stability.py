"""Whether fewer judgements would have put the systems in the same order.

D-MERIT (arXiv 2406.16048): with few annotated positives the order of systems can be wrong, and
converges as the annotated share grows. If it has not converged here, more judgements may change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..core.digest import u64_array
from ..core.ids import I64
from ..core.progress import progress
from ..core.rng import U64, combine, stream
from ..core.tables import Qrels
from .compared_data import ComparedData, Rankings
from .measures import F64, cutoff
from .pooled import kendall_tau

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75)
DRAWS = 20
_PURPOSE = 53


@dataclass(frozen=True, slots=True)
class Point:
    """Draws of one share of the positives; 0 stands for one positive of each query.

    `kept` is how many positives a query has on average. `tau` and `tau_sd` are mean and standard
    deviation (n - 1) of Kendall's tau-b between the systems' order and that under all judgements,
    over the draws that have one (`draws`); None where none has: all systems alike. `same_best`: the
    share of draws under which the best system is still the best.
    """

    share: float
    kept: float
    tau: float | None
    tau_sd: float | None
    draws: int
    same_best: float


@dataclass(frozen=True, slots=True)
class Stability:
    """The curve: `positives` a query with all judgements, and the points by rising share."""

    measure: str
    systems: int
    positives: float
    points: list[Point]

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self)


def pair_hashes(data: ComparedData) -> U64:
    """A hash of each positive pair's ids, uint64 [P], in the order of `Qrels.pairs`."""
    query, doc = data.qrels.pairs()
    asked, told = data.dataset.queries.id_strings(query), data.dataset.corpus.id_strings(doc)
    return combine(u64_array(asked), u64_array(told))


def thinned(qrels: Qrels, hashes_P: U64, share: float, draw: int, seed: int = 0) -> Qrels:
    """The judgements with `share` of each query's positives, rounded, and at least one.

    Which stay is a hash of (seed, draw, query id, document id), the ids' in `hashes_P`. Judged
    negatives all stay. A positive that goes is unjudged.
    """
    query, _ = qrels.pairs()
    noise = combine(stream(seed, draw, _PURPOSE), hashes_P)
    order = np.lexsort((noise, query))
    counts = np.bincount(query, minlength=len(qrels))
    number = np.arange(query.size) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = np.maximum(np.rint(share * counts), 1)
    gone = order[number >= wanted[query[order]]]
    # judgements are sorted by query and document, positives among them
    positive = np.flatnonzero(qrels.grades >= qrels.min_grade)
    stays = np.ones(qrels.docs.size, dtype=bool)
    stays[positive[gone]] = False
    owner = np.repeat(np.arange(len(qrels)), np.diff(qrels.indptr))[stays]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=len(qrels)))))
    return replace(
        qrels,
        indptr=indptr.astype(np.int64),
        docs=qrels.docs[stays],
        grades=qrels.grades[stays],
    )


def stability(
    rankings: Rankings,
    measure: str,
    shares: Sequence[float] = SHARES,
    draws: int = DRAWS,
    seed: int = 0,
) -> Stability:
    """How well the order of the systems, of their first seeds, survives thinner judgements."""
    data = rankings.data
    depth = cutoff([measure])
    short = Rankings(data, {name: [ids[:, :depth]] for name, ids in rankings.ids.items()})
    full, hashes = _means(short, measure), pair_hashes(data)
    points = []
    with progress("stability", total=len(shares) * draws, unit="draws") as bar:
        for share in shares:
            taus, best, kept = [], 0, 0.0
            for draw in range(draws):
                fewer = thinned(data.qrels, hashes, share, draw, seed)
                means = _means(short.judged_by(fewer), measure)
                taus.append(kendall_tau(full.tolist(), means.tolist()))
                best += int(np.argmax(means)) == int(np.argmax(full))
                kept += _positives(fewer, data.rows) / draws
                bar.update(1)
            points.append(_point(share, kept, taus, best / draws))
    return Stability(measure, len(full), _positives(data.qrels, data.rows), points)


def _means(rankings: Rankings, measure: str) -> F64:
    found = rankings.measured([measure])
    return np.array([values[measure].mean() for values in found.values()])


def _positives(qrels: Qrels, rows: I64) -> float:
    counts = np.bincount(qrels.pairs()[0], minlength=len(qrels))
    return float(counts[rows].mean())


def _point(share: float, kept: float, taus: Sequence[float | None], same_best: float) -> Point:
    known = np.array([tau for tau in taus if tau is not None])
    mean = float(known.mean()) if known.size else None
    sd = float(known.std(ddof=1)) if known.size > 1 else None
    return Point(share, kept, mean, sd, int(known.size), same_best)

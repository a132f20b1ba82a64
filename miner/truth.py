"""The truth test: how many hidden positives a setting draws as negatives; no model judges.

All positives but one of each query with several are hidden. A setting is then applied as in
`mine`, and every hidden positive among the negatives is a false negative that is known to be one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..core.candidates import PAD_ID, Candidates
from ..core.dataset import text_hashes
from ..core.digest import u64
from ..core.encoder import F32, Encoder
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.progress import progress
from ..core.rng import U64
from ..core.run import Prepared, build_encoder, check_folders, prepare_mining
from ..core.tables import Qrels
from ..indexes.retrieve import retrieve
from ..indexes.topk import exact_scores
from .calibrate import fit_calibration
from .choose import Context
from .choose_block import Choice, random_pool
from .denoise_checks import open_checks
from .filters import FilterConfig
from .mine import MineConfig, context_of, search_inputs
from .mix import Pool, choose_mix
from .suggest_grid import Setting, notes_of, settings, with_pools

BLOCK_QUERIES = 256
RESAMPLES = 2000
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class TruthRow:
    """One setting: what it drew for the tested queries.

    `false_negatives`: hidden positives among the drawn negatives, as a share of them; `hardness`:
    mean of (negative's score - score of the positive that was left). Both with a 95% bootstrap
    interval over the queries; None where nothing was drawn.
    """

    setting: Setting
    drawn: int
    found: int
    false_negatives: float | None
    false_negatives_ci95: Interval | None
    hardness: float | None
    hardness_ci95: Interval | None

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        names = [name for name in self.__slots__ if name != "setting"]
        return {"setting": self.setting.label, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, slots=True)
class Truth:
    """All settings; `hidden` positives in all, of which `retrieved` stand among the candidates.

    `notes` say what of the configuration was not applied.
    """

    queries: int
    hidden: int
    retrieved: int
    rows: tuple[TruthRow, ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        counts = {"queries": self.queries, "hidden": self.hidden, "retrieved": self.retrieved}
        rows = [row.as_json() for row in self.rows]
        return {**counts, "notes": list(self.notes), "settings": rows}


@dataclass(frozen=True, slots=True)
class Hidden:
    """Judgements with one positive for each query, and the others.

    `places` int64 [T] number the tested queries among the prepared ones, ascending; `kept` int64
    [T] are their remaining positives; `pairs` holds the hidden ones.
    """

    qrels: Qrels
    places: I64
    kept: I64
    pairs: Qrels

    def only(self, chosen_T: npt.NDArray[np.bool_]) -> Hidden:
        """The same judgements, with some of the queries to test."""
        return replace(self, places=self.places[chosen_T], kept=self.kept[chosen_T])

    def retrieved(self, candidates: Candidates) -> I64:
        """Hidden positives among the candidates of each tested query, int64 [T]."""
        found = np.zeros(self.places.size, dtype=np.int64)
        for start in range(0, found.size, BLOCK_QUERIES):
            part = slice(start, start + BLOCK_QUERIES)
            block = candidates.rows(self.places[part])
            found[part] = self.pairs.is_positive(block.query_rows, block.ids).sum(axis=1)
        return found


def truth_test(
    config: MineConfig, encoder: Encoder | None = None, grid: list[Setting] | None = None
) -> Truth:
    """Test the settings of `grid`, by default those of `suggest`, on the training queries.

    Vectors and candidates are read where they are on disk. Memory: one block of queries. Raises
    PyriteError if no query has two positives with different texts, and what `mine` raises.
    """
    check_folders(config)
    prepared = prepare_mining(config, encoder or build_encoder(config))
    hidden = hidden_of(config, prepared)
    if not hidden.places.size:
        raise PyriteError(
            f"dataset.train_split={prepared.dataset.folder}: no query has two positives with"
            " different texts, so none can be hidden; name a split with several positives a query"
        )
    inputs = search_inputs(config, prepared, prepared.qrels)
    retrieved = retrieve(inputs, config.retrieve, config.cache, config.threads)
    checks = open_checks(config.filters.denoise, prepared, retrieved, config.cache)
    context = context_of(config, prepared, checks)
    grid = grid or settings(config.filters, config.sampler)
    return draw_hidden(config, prepared, context, hidden, retrieved.candidates, grid)


def hidden_of(config: MineConfig, prepared: Prepared) -> Hidden:
    """What the truth test of a configuration hides; no places where no query can be tested.

    A source that searches with positives may not know the hidden ones, so the one that it searches
    with is kept: the candidates of `mine` serve the test.
    """
    texts_N = text_hashes(prepared.dataset.corpus, config.cache)
    searched = any(source.query == "positive" for source in config.retrieve.sources)
    return hide_positives(prepared, texts_N, config.seed, keep_first=searched)


def hide_positives(
    prepared: Prepared, doc_texts_N: U64, seed: int, keep_first: bool = False
) -> Hidden:
    """Keep the positive with the smallest hash of (seed, query id, document id).

    With `keep_first` the first by document id. A copy of the kept positive's text is not hidden:
    every filter knows it by its text.
    """
    queries, docs = prepared.qrels.pairs()
    dataset = prepared.dataset
    names = zip(dataset.queries.id_strings(queries), dataset.corpus.id_strings(docs), strict=True)
    hashes = np.array([u64(f"{q}\0{d}", salt=f"truth {seed}") for q, d in names], dtype=np.uint64)
    order = np.lexsort((dataset.corpus.ids.rank_N[docs] if keep_first else hashes, queries))
    first = np.ones(order.size, dtype=bool)
    first[1:] = queries[order][1:] != queries[order][:-1]
    kept_of = np.full(len(prepared.qrels), PAD_ID, dtype=np.int64)
    kept_of[queries[order[first]]] = docs[order[first]]
    kept = kept_of[queries] == docs
    hidden = ~kept & (doc_texts_N[docs] != doc_texts_N[kept_of[queries]])
    places = np.flatnonzero(np.isin(prepared.queries.rows, queries[hidden]))

    def judged(which: npt.NDArray[np.bool_]) -> Qrels:
        grades = np.ones(int(which.sum()), dtype=np.int64)
        return Qrels.build(queries[which], docs[which], grades, len(prepared.qrels))

    rows = prepared.queries.rows[places]
    return Hidden(judged(~hidden), places, kept_of[rows], judged(hidden))


def draw_hidden(
    config: MineConfig,
    prepared: Prepared,
    context: Context,
    hidden: Hidden,
    candidates: Candidates,
    grid: list[Setting],
) -> Truth:
    """Draw for every setting of `grid` from candidates that know nothing of the `hidden`."""
    return _Test(config, prepared, context, hidden, candidates).run(grid)


class _Test:
    """The tested queries, their remaining positives and their candidates."""

    def __init__(
        self,
        config: MineConfig,
        prepared: Prepared,
        context: Context,
        hidden: Hidden,
        candidates: Candidates,
    ) -> None:
        vectors = prepared.queries.embeddings.take(hidden.places)
        self.config = config
        self.prepared = prepared
        self.hidden = hidden
        self.candidates = candidates
        self.pos_scores: F32 = exact_scores(vectors, prepared.corpus, hidden.kept[:, None])[:, 0]
        method = config.filters.calibrate
        calibration = fit_calibration(method, self.pos_scores, candidates.scores)
        triangles = context.triangles
        if triangles is not None:
            rows = prepared.queries.rows[hidden.places]
            triangles = triangles.with_positives(rows, hidden.kept)
        self.context = replace(
            context, qrels=hidden.qrels, calibration=calibration, triangles=triangles
        )

    def run(self, grid: list[Setting]) -> Truth:
        """Draw for every setting, block by block."""
        size = self.hidden.places.size
        sums: list[list[npt.NDArray[np.float64]]] = [[] for _ in grid]
        with progress("truth test", total=size, unit="queries") as bar:
            for start in range(0, size, BLOCK_QUERIES):
                part = np.arange(start, min(start + BLOCK_QUERIES, size))
                block = self.candidates.rows(self.hidden.places[part])
                for found, drawn in zip(sums, self._draws(block, part, grid), strict=True):
                    found.append(drawn)
                bar.update(part.size)
        rows = [
            _row(s, np.concatenate(b), self.config.seed) for s, b in zip(grid, sums, strict=True)
        ]
        asked = self.prepared.queries.rows[self.hidden.places]
        return Truth(
            int(size),
            int(np.diff(self.hidden.pairs.indptr)[asked].sum()),
            int(self.hidden.retrieved(self.candidates).sum()),
            tuple(rows),
            notes_of(self.config.filters, self.config.sampler),
        )

    def _draws(
        self, block: Candidates, part: I64, grid: list[Setting]
    ) -> Iterator[npt.NDArray[np.float64]]:
        def pool_of(filters: FilterConfig) -> Pool:
            return Pool.of(block, self.pos_scores[part], self.context, filters)

        for setting, pool in with_pools(grid, pool_of):
            yield self._draw(pool, part, setting)

    def _draw(self, pool: Pool, part: I64, setting: Setting) -> npt.NDArray[np.float64]:
        """Drawn negatives, hidden positives among them, and the sum of gaps: float64 [Q, 3]."""
        pos_scores, seed = self.pos_scores[part], self.config.seed
        choice = Choice(setting.filters, setting.sampler, seed, BLOCK_QUERIES)
        places = self.hidden.places[part]
        random = random_pool(
            self.context, self.prepared.qrels, choice, pool.candidates, pos_scores, places
        )
        found = choose_mix(pool, random, pos_scores, self.context, setting.sampler, seed)
        drawn = found.ids != PAD_ID
        gaps = np.where(drawn, found.scores.astype(np.float64) - found.pos_scores[:, None], 0.0)
        hits = self.hidden.pairs.is_positive(found.query_rows, found.ids)
        return np.stack((drawn.sum(axis=1), hits.sum(axis=1), gaps.sum(axis=1)), axis=1)


def _row(setting: Setting, sums_Q3: npt.NDArray[np.float64], seed: int) -> TruthRow:
    drawn, hits, gaps = (np.ascontiguousarray(sums_Q3[:, i]) for i in range(3))
    total = float(drawn.sum())
    if not total:
        return TruthRow(setting, 0, 0, None, None, None, None)
    return TruthRow(
        setting,
        int(total),
        int(hits.sum()),
        float(hits.sum() / total),
        _interval(hits, drawn, seed),
        float(gaps.sum() / total),
        _interval(gaps, drawn, seed),
    )


def _interval(
    part_Q: npt.NDArray[np.float64], whole_Q: npt.NDArray[np.float64], seed: int
) -> Interval | None:
    """Percentile bootstrap interval, 95%, of the ratio of two sums over queries.

    Resamples in which nothing was drawn have no ratio and do not count.
    """
    if part_Q.size < 2:
        return None

    def ratio(part: Any, whole: Any, axis: int) -> Any:
        total = whole.sum(axis=axis)
        return np.where(total > 0, part.sum(axis=axis) / np.maximum(total, 1), np.nan)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (part_Q, whole_Q),
            ratio,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, 2_000_000 // part_Q.size),
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = np.nanpercentile(found.bootstrap_distribution, (2.5, 97.5))
    return float(low), float(high)

"""The verb `suggest`: what each of a grid of settings would do to the candidates of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.candidates import PAD_ID, Candidates
from ..core.digest import u64
from ..core.encoder import Encoder
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.progress import progress
from ..core.run import Prepared, build_encoder, check_folders, prepare_mining
from ..indexes.retrieve import retrieve
from .calibrate import fit_calibration
from .choose import Context
from .choose_block import Choice, random_pool
from .denoise_checks import open_checks
from .filters import FilterConfig
from .mine import MineConfig, context_of, search_inputs
from .mix import Pool, choose_mix
from .positives import score_positives
from .suggest_grid import Setting, notes_of, settings, with_pools
from .suggest_rule import MIN_FILLED, Outcome, closest, limit_of, recommend
from .truth import draw_hidden, hidden_of

MAX_QUERIES = 2000
BLOCK_QUERIES = 256
# with fewer, one hidden positive more or less changes the order of the settings
MIN_TESTED = 50


@dataclass(frozen=True, slots=True)
class Suggestion:
    """All outcomes in the order of the grid, and the one to take.

    `recommended` is None where no setting keeps to the limits; `nearest` then comes closest.
    `tested`: queries with a hidden positive among their candidates; false negatives are counted by
    the truth test if there are `MIN_TESTED`, else they are the proxy. `asked`: whether the limit
    was given. `notes` say what of the configuration was not applied.
    """

    folder: Path
    queries: int
    tested: int
    outcomes: tuple[Outcome, ...]
    max_false_negatives: float
    asked: bool
    recommended: Outcome | None
    nearest: Outcome | None
    notes: tuple[str, ...]

    @property
    def by_hidden(self) -> bool:
        """Whether the truth test counts the false negatives."""
        return self.tested >= MIN_TESTED

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        chosen = {"recommended": self.recommended, "nearest": self.nearest}
        return {
            "queries": self.queries,
            "estimate": "hidden positives" if self.by_hidden else "proxy",
            "tested": self.tested,
            "min_tested": MIN_TESTED,
            "min_filled": MIN_FILLED,
            "max_false_negatives": self.max_false_negatives,
            "notes": list(self.notes),
            **{name: o.as_json() if o else None for name, o in chosen.items()},
            "settings": [o.as_json() for o in self.outcomes],
        }


def suggest(
    config: MineConfig,
    max_false_negatives: float | None = None,
    encoder: Encoder | None = None,
) -> Suggestion:
    """Compare the settings of the grid on the candidates that `mine` uses or would use.

    Vectors and candidates are read where they are on disk already. At most `MAX_QUERIES` queries
    are drawn for, those with the smallest hashes of their ids; each of them gets the very negatives
    that `mine` would give it without a fall-back and without a cap on uses. Where `MIN_TESTED`
    queries allow it, positives are hidden as in the truth test, in the same candidates, and counted
    among the negatives. The limit is by default that of `limit_of`. Writes nothing but the caches.
    Raises PyriteError where all negatives are random, for a limit outside [0, 1], and what `mine`
    raises.
    """
    if max_false_negatives is not None and not 0 <= max_false_negatives <= 1:
        raise PyriteError(
            f"--max-false-negatives={max_false_negatives}: a share lies within 0 and 1"
        )
    if all(part.name == "random" for part in config.sampler.parts):
        raise PyriteError(
            "sampler.name=random draws from the whole corpus, so no setting of the candidates"
            " matters; set sampler.name to topk, window or simans"
        )
    check_folders(config)
    prepared = prepare_mining(config, encoder or build_encoder(config))
    inputs = search_inputs(config, prepared, prepared.qrels)
    retrieved = retrieve(inputs, config.retrieve, config.cache, config.threads)
    checks = open_checks(config.filters.denoise, prepared, retrieved, config.cache)
    context = context_of(config, prepared, checks)
    sample = sample_queries(prepared, np.arange(prepared.queries.rows.size))
    outcomes = _Comparison(config, prepared, retrieved.candidates, context).run(sample)
    hidden = hidden_of(config, prepared)
    hidden = hidden.only(np.isin(hidden.places, sample_queries(prepared, hidden.places)))
    tested = int((hidden.retrieved(retrieved.candidates) > 0).sum())
    if tested >= MIN_TESTED:
        grid = [_bare(outcome.setting) for outcome in outcomes]
        found = draw_hidden(config, prepared, context, hidden, retrieved.candidates, grid).rows
        outcomes = [replace(o, hidden=row) for o, row in zip(outcomes, found, strict=True)]
    limit = limit_of(outcomes, max_false_negatives)
    recommended = recommend(outcomes, limit)
    return Suggestion(
        config.run_folder,
        int(sample.size),
        tested,
        tuple(outcomes),
        limit,
        max_false_negatives is not None,
        recommended,
        nearest=None if recommended else closest(outcomes),
        notes=_notes(config),
    )


def sample_queries(prepared: Prepared, places: I64) -> I64:
    """At most `MAX_QUERIES` of `places` among the mined queries, ascending."""
    ids = prepared.dataset.queries.id_strings(prepared.queries.rows[places])
    hashes = np.array([u64(i, salt="suggest") for i in ids], dtype=np.uint64)
    return np.sort(places[np.argsort(hashes, kind="stable")[:MAX_QUERIES]]).astype(np.int64)


def _bare(setting: Setting) -> Setting:
    # a fall-back would hide how many queries a setting leaves short
    return replace(setting, sampler=setting.sampler.model_copy(update={"on_short": []}))


def _notes(config: MineConfig) -> tuple[str, ...]:
    notes = notes_of(config.filters, config.sampler)
    if config.filters.positive_score != "each":
        return notes
    each = "filters.positive_score=each is compared as min: one row for each query"
    return (*notes, each)


@dataclass(frozen=True, slots=True)
class _Counts:
    """Per query: candidates kept and in all, negatives drawn, sums over them; each [Q]."""

    kept: I64
    candidates: I64
    drawn: I64
    gaps: npt.NDArray[np.float64]
    positives_below: I64


class _Comparison:
    """The settings of a run, its positives and its candidates."""

    def __init__(
        self,
        config: MineConfig,
        prepared: Prepared,
        candidates: Candidates,
        context: Context,
    ) -> None:
        filters = config.filters
        positives = score_positives(prepared, filters.positive_score)
        calibration = fit_calibration(filters.calibrate, positives.pairs, candidates.scores)
        self.config = config
        self.prepared = prepared
        self.candidates = candidates
        self.settings = settings(filters, config.sampler)
        self.pos_scores = positives.per_query
        self.all_positives = np.sort(positives.pairs)
        self.context: Context = replace(context, calibration=calibration)

    def run(self, sample: I64) -> list[Outcome]:
        """One outcome for each setting; the same whatever the block size."""
        blocks = []
        with progress("compare", total=sample.size, unit="queries") as bar:
            for start in range(0, sample.size, BLOCK_QUERIES):
                rows = sample[start : start + BLOCK_QUERIES]
                blocks.append(self._block(rows))
                bar.update(rows.size)
        return [
            self._outcome(setting, list(counts))
            for setting, counts in zip(self.settings, zip(*blocks, strict=True), strict=True)
        ]

    def _block(self, rows: I64) -> list[_Counts]:
        """Counts of one block for each setting."""
        block = self.candidates.rows(rows)

        def pool_of(filters: FilterConfig) -> Pool:
            return Pool.of(block, self.pos_scores[rows], self.context, filters)

        found = with_pools(self.settings, pool_of)
        return [self._counts(pool, rows, setting) for setting, pool in found]

    def _counts(self, pool: Pool, rows: I64, setting: Setting) -> _Counts:
        sampler = _bare(setting).sampler
        pos_scores, seed = self.pos_scores[rows], self.config.seed
        choice = Choice(setting.filters, sampler, seed, BLOCK_QUERIES)
        random = random_pool(
            self.context, self.prepared.qrels, choice, pool.candidates, pos_scores, rows
        )
        negatives = choose_mix(pool, random, pos_scores, self.context, sampler, seed)
        drawn = negatives.ids != PAD_ID
        gaps = negatives.scores.astype(np.float64) - pos_scores[:, None]
        below = np.searchsorted(self.all_positives, negatives.scores, side="right")
        return _Counts(
            kept=(pool.reasons == 0).sum(axis=1),
            candidates=(pool.candidates.ids != PAD_ID).sum(axis=1),
            drawn=drawn.sum(axis=1),
            gaps=np.where(drawn, gaps, 0.0).sum(axis=1),
            positives_below=np.where(drawn, below, 0).sum(axis=1),
        )

    def _outcome(self, setting: Setting, blocks: list[_Counts]) -> Outcome:
        def joined(name: str) -> npt.NDArray[Any]:
            return np.concatenate([getattr(block, name) for block in blocks])

        drawn = joined("drawn")
        total = int(drawn.sum())
        candidates = max(int(joined("candidates").sum()), 1)
        below = int(joined("positives_below").sum())
        wanted = setting.sampler.total
        short = drawn < wanted
        dropped = setting.sampler.on_short[:1] == ["drop_query"]
        used = drawn[~short] if dropped else drawn
        return Outcome(
            setting,
            kept=int(joined("kept").sum()) / candidates,
            short=float(short.mean()),
            filled=int(used.sum()) / (wanted * drawn.size),
            # summed exactly over the queries, so blocks cannot change a digit
            hardness=math.fsum(joined("gaps").tolist()) / total if total else None,
            proxy=below / (total * self.all_positives.size) if total else None,
        )

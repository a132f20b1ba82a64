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
from ..core.run import Prepared, build_encoder, prepare_mining
from ..indexes.retrieve import retrieve
from .calibrate import fit_calibration
from .choose import Context
from .choose_all import Choice, random_pool
from .denoise_checks import Checks, open_checks
from .filters import FilterConfig
from .mine import MineConfig, context_of, search_inputs
from .mix import Pool, choose_mix
from .positives import score_positives
from .suggest_grid import Setting, settings, with_pools

MAX_QUERIES = 2000
BLOCK_QUERIES = 256
MAX_SHORT = 0.01
# 0.5 is what negatives that score exactly like positives get; half of that is a clear distance
MAX_FALSE_NEGATIVES = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a setting does to the sampled queries; all shares are within [0, 1].

    `kept`: retrieved candidates that no filter rejects. `short`: queries that get fewer negatives
    than configured, before any fall-back. `hardness`: mean of (score of a drawn negative - score of
    its query's positive). `false_negatives`: over the drawn negatives, the mean share of all known
    positives of the run that score at most as high. It is a proxy for the share of negatives that
    are relevant, and reads high: most documents that score like a positive are none. The last two
    are None where nothing is drawn.
    """

    setting: Setting
    kept: float
    short: float
    hardness: float | None
    false_negatives: float | None

    def as_json(self) -> dict[str, Any]:
        """A JSON value, with the sections to paste."""
        return {
            "setting": self.setting.label,
            "kept": self.kept,
            "short": self.short,
            "hardness": self.hardness,
            "false_negatives": self.false_negatives,
            "config": self.setting.sections(),
        }


@dataclass(frozen=True, slots=True)
class Suggestion:
    """All outcomes in the order of the grid, and the one to take.

    `recommended` is None where no setting keeps to the limits; `nearest` then comes closest.
    """

    folder: Path
    queries: int
    outcomes: tuple[Outcome, ...]
    max_false_negatives: float
    recommended: Outcome | None
    nearest: Outcome | None

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        chosen = {"recommended": self.recommended, "nearest": self.nearest}
        return {
            "queries": self.queries,
            "max_short": MAX_SHORT,
            "max_false_negatives": self.max_false_negatives,
            **{name: o.as_json() if o else None for name, o in chosen.items()},
            "settings": [o.as_json() for o in self.outcomes],
        }


def suggest(
    config: MineConfig,
    max_false_negatives: float = MAX_FALSE_NEGATIVES,
    encoder: Encoder | None = None,
) -> Suggestion:
    """Compare the settings of the grid on the candidates that `mine` uses or would use.

    Vectors and candidates are read where they are on disk already. At most `MAX_QUERIES` queries
    are drawn for, those with the smallest hashes of their ids; each of them gets the very negatives
    that `mine` would give it without a fall-back. Writes nothing but the caches. Raises PyriteError
    where all negatives are random, for a limit outside [0, 1], and what `mine` raises.
    """
    if not 0 <= max_false_negatives <= 1:
        raise PyriteError(
            f"--max-false-negatives={max_false_negatives}: a share lies within 0 and 1"
        )
    if all(part.name == "random" for part in config.sampler.parts):
        raise PyriteError(
            "sampler.name=random draws from the whole corpus, so no setting of the candidates"
            " matters; set sampler.name to topk, window or simans"
        )
    prepared = prepare_mining(config, encoder or build_encoder(config))
    inputs = search_inputs(config, prepared, prepared.qrels)
    retrieved = retrieve(inputs, config.retrieve, config.cache, config.threads)
    sample = sample_queries(prepared)
    checks = open_checks(config.filters.denoise, prepared, retrieved, config.cache)
    outcomes = _Comparison(config, prepared, retrieved.candidates, checks).run(sample)
    recommended = recommend(outcomes, max_false_negatives)
    nearest = None if recommended else closest(outcomes, max_false_negatives)
    return Suggestion(
        config.run_folder,
        int(sample.size),
        tuple(outcomes),
        max_false_negatives,
        recommended,
        nearest,
    )


def sample_queries(prepared: Prepared) -> I64:
    """Places of the compared queries among the mined ones, ascending: at most `MAX_QUERIES`."""
    ids = prepared.dataset.queries.id_strings(prepared.queries.rows)
    hashes = np.array([u64(i, salt="suggest") for i in ids], dtype=np.uint64)
    return np.sort(np.argsort(hashes, kind="stable")[:MAX_QUERIES]).astype(np.int64)


def recommend(outcomes: list[Outcome], max_false_negatives: float) -> Outcome | None:
    """The hardest outcome within both limits, of equals the first; None if there is none."""
    fit = [o for o in outcomes if _excess(o, max_false_negatives) == 0]
    return max(fit, key=_hardness, default=None)


def closest(outcomes: list[Outcome], max_false_negatives: float) -> Outcome | None:
    """The outcome that oversteps the limits least, of equals the hardest; None if none draws."""
    drawing = [o for o in outcomes if o.hardness is not None]
    return min(
        drawing, key=lambda o: (_excess(o, max_false_negatives), -_hardness(o)), default=None
    )


def _excess(outcome: Outcome, max_false_negatives: float) -> float:
    if outcome.false_negatives is None:
        return math.inf
    short = max(0.0, outcome.short - MAX_SHORT)
    return short + max(0.0, outcome.false_negatives - max_false_negatives)


def _hardness(outcome: Outcome) -> float:
    return -math.inf if outcome.hardness is None else outcome.hardness


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
        checks: Checks | None,
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
        context = context_of(config, prepared, checks)
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
        # a fall-back would hide how many queries a setting leaves short
        sampler = setting.sampler.model_copy(update={"on_short": []})
        pos_scores, seed = self.pos_scores[rows], self.config.seed
        choice = Choice(setting.filters, sampler, seed, BLOCK_QUERIES)
        random = random_pool(self.prepared, self.context, choice, pool.candidates, pos_scores, rows)
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
        return Outcome(
            setting,
            kept=int(joined("kept").sum()) / candidates,
            short=float((drawn < setting.sampler.total).mean()),
            # summed exactly over the queries, so blocks cannot change a digit
            hardness=math.fsum(joined("gaps").tolist()) / total if total else None,
            false_negatives=below / (total * self.all_positives.size) if total else None,
        )

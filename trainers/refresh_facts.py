"""What the gate asks of a generation, measured with the weights that mined it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..core.encoder import Encoder
from ..core.ids import I64
from ..core.run import Prepared
from ..eval.in_memory import evaluate_in_memory
from ..indexes.retrieve import retrieve
from ..miner.clusters import Clusters
from ..miner.denoise_checks import open_checks
from ..miner.mine import MineConfig, context_of, search_inputs
from ..miner.negatives_file import ScoredRows
from ..miner.positives import score_positives
from ..miner.suggest import MIN_TESTED, sample_queries
from ..miner.suggest_grid import Setting
from ..miner.truth import draw_hidden, hidden_of
from .dev_split import open_dev
from .refresh_gate import NDCG, Facts, GateSection
from .refresh_measures import QueryMean, above_share, churn_of
from .run_config import TrainConfig

Estimate = Literal["hidden positives", "proxy"]


@dataclass(frozen=True, slots=True)
class FalseNegatives:
    """An estimated share of false negatives, from how many queries, and by which estimate.

    None where nothing is drawn.
    """

    share: float | None
    estimate: Estimate
    queries: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything measured of a generation; None where nobody asked or nothing was there before."""

    ndcg: float | None
    best_ndcg: float | None
    churn: QueryMean | None
    false_negatives: FalseNegatives | None

    @property
    def facts(self) -> Facts:
        """What the gate decides by."""
        churn = None if self.churn is None else self.churn.value
        return Facts(
            ndcg=self.ndcg,
            best_ndcg=self.best_ndcg,
            overlap=None if churn is None else 1 - churn,
            false_negative_share=self.false_negatives.share if self.false_negatives else None,
        )

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self)


def measure_facts(
    gate: GateSection,
    config: TrainConfig,
    encoder: Encoder,
    prepared: Prepared,
    before: ScoredRows | None,
    after: ScoredRows,
    best_ndcg: float | None,
    clusters: Clusters | None = None,
) -> Measured:
    """Measure the generation `after`, which `encoder` has mined, against the last adopted one.

    `prepared` holds the vectors of these weights and the queries that were mined with them: others,
    whose negatives `after` has from before, do not count. `best_ndcg` is the highest nDCG@10 of the
    generations adopted so far. The development queries are encoded only where `gate.split` is set,
    and false negatives estimated only where they are limited, with the `clusters` that mined; None:
    k-means. Raises PyriteError as `open_dev`.
    """
    limited = gate.max_false_negative_share is not None
    after = _of_queries(after, prepared.queries.rows)
    return Measured(
        None if gate.split is None else dev_ndcg(config, encoder, prepared, gate.split),
        best_ndcg,
        None if before is None else churn_of(before, after),
        estimate_false_negatives(config, prepared, after, clusters) if limited else None,
    )


def dev_ndcg(config: TrainConfig, encoder: Encoder, prepared: Prepared, split: str) -> float:
    """nDCG@10 of `split` against the corpus as it is encoded; only the queries are encoded."""
    dataset, qrels, rows = open_dev(config, split, "refresh.gate.split")
    tokens, drop = config.encoder.token_budget, config.drops_identical
    corpus = prepared.corpus
    found = evaluate_in_memory(
        encoder, dataset, qrels, rows, (NDCG,), tokens, corpus, drop_identical=drop
    )
    return found.means()[NDCG]


def estimate_false_negatives(
    config: MineConfig, prepared: Prepared, mined: ScoredRows, clusters: Clusters | None = None
) -> FalseNegatives:
    """The truth test of the configured setting, or the proxy of `mined`.

    The truth test where `MIN_TESTED` queries have a positive to hide, at most 2,000 of them: that
    is a matter of the dataset, so all generations of a run are judged by one estimate. Candidates
    of the same weights are read where they are on disk.
    """
    hidden = hidden_of(config, prepared)
    hidden = hidden.only(np.isin(hidden.places, sample_queries(prepared, hidden.places)))
    if hidden.places.size < MIN_TESTED:
        pairs = score_positives(prepared, config.filters.positive_score).pairs
        share = above_share(mined.scores, mined.ids, pairs)
        return FalseNegatives(share, "proxy", mined.query_rows.size)
    inputs = search_inputs(config, prepared, prepared.qrels)
    retrieved = retrieve(inputs, config.retrieve, config.cache, config.threads)
    checks = open_checks(config.filters.denoise, prepared, retrieved, config.cache)
    context = context_of(config, prepared, checks, clusters)
    setting = Setting("configured", "configured", config.filters, config.sampler)
    found = draw_hidden(config, prepared, context, hidden, retrieved.candidates, [setting])
    return FalseNegatives(found.rows[0].false_negatives, "hidden positives", found.queries)


def _of_queries(mined: ScoredRows, rows: I64) -> ScoredRows:
    """The part of `mined` that stands for the queries `rows`."""
    here = np.isin(mined.query_rows, rows)
    positives = mined.positive_rows
    return ScoredRows(
        mined.query_rows[here],
        mined.ids[here],
        mined.scores[here],
        mined.probabilities[here],
        None if positives is None else positives[here],
    )

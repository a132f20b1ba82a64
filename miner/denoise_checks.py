"""What a cross-encoder says of a run: scores, the threshold, counts, likely missing labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.candidates import STRUCTURAL, Candidates
from ..core.cross_encoder import (
    Activation,
    CrossEncoderScorer,
    activated,
    resolve_activation,
)
from ..core.dataset import text_hashes
from ..core.encoder import F32
from ..core.ids import I64
from ..core.run import Prepared
from ..core.store import atomic_write
from ..core.tables import Qrels
from ..indexes.retrieve import Retrieved
from .denoise import Bool, DenoiseConfig, denoise_rejects, fit_threshold, is_checked
from .filters import U16, allowed_rank
from .pair_scores import PairInputs, PairScores, score_candidates

logger = logging.getLogger(__name__)

KNOB = "filters.denoise"
MISSING_LABELS, TEACHER = "missing_labels.parquet", "teacher.parquet"
_MISSING_SCHEMA = pa.schema(
    [("query_id", pa.string()), ("doc_id", pa.string()), ("score", pa.float32())]
)
_TEACHER_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),
        ("log_odds", pa.float32()),
        ("positive", pa.bool_()),
    ]
)
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Checks:
    """The cross-encoder's scores of a run, and the threshold below which a candidate is kept.

    `positives` counts the labelled positives, `positives_below` those that the threshold would
    have called negatives.
    """

    pairs: PairScores
    config: DenoiseConfig
    activation: Activation
    threshold: float
    positives: int
    positives_below: int

    def scores(self, candidates: Candidates) -> F32:
        """Activated scores, float32 [Q, K]; NaN where a pair was not scored."""
        log_odds = self.pairs.find(candidates.query_rows, candidates.ids)
        return activated(log_odds, self.activation)

    def rejects(self, candidates: Candidates, reasons: U16, config: DenoiseConfig) -> Bool:
        """Candidates without a structural reason that denoising rejects, bool [Q, K]."""
        rank = allowed_rank(reasons)
        scores, level = self.scores(candidates), self.threshold
        found = denoise_rejects(scores, rank, config.depth, level, config.allow_unchecked)
        return np.asarray(found & _allowed(reasons))

    def likely_positive(self, candidates: Candidates, reasons: U16) -> Bool:
        """Checked candidates over `positive_above`, bool [Q, K]."""
        scores = self.scores(candidates)
        checked = is_checked(scores, allowed_rank(reasons), self.config.depth) & _allowed(reasons)
        return np.asarray(checked & (scores > self.config.positive_above))

    def tally(self, candidates: Candidates, reasons: U16) -> Counter[str]:
        """How many candidates of a block were checked, unchecked, and likely positives."""
        allowed = _allowed(reasons)
        scores = self.scores(candidates)
        checked = is_checked(scores, allowed_rank(reasons), self.config.depth) & allowed
        return Counter(
            checked=int(checked.sum()),
            unchecked=int((allowed & ~checked).sum()),
            likely_positive=int(self.likely_positive(candidates, reasons).sum()),
        )

    def as_json(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "threshold": self.threshold,
            "activation": self.activation,
            "labelled_positives": self.positives,
            "labelled_positives_below": self.positives_below,
            "scores": self.pairs.content,
        }


def _allowed(reasons: U16) -> Bool:
    return np.asarray((reasons & np.uint16(STRUCTURAL)) == 0)


def open_checks(
    config: DenoiseConfig, prepared: Prepared, retrieved: Retrieved, cache: Path
) -> Checks | None:
    """Score what is not scored yet and fit the threshold; None where `config.model` is null.

    Raises PyriteError as `CrossEncoderScorer` and `fit_threshold`.
    """
    if config.model is None:
        return None
    scorer = CrossEncoderScorer(config.model, config, KNOB)
    activation = resolve_activation(config.activation, scorer.labels, KNOB)
    inputs = PairInputs(
        prepared,
        retrieved.candidates,
        retrieved.key,
        np.asarray(text_hashes(prepared.dataset.queries, cache)),
        np.asarray(text_hashes(prepared.dataset.corpus, cache)),
        config.depth,
    )
    pairs = score_candidates(scorer, inputs, config.token_budget, cache)
    rows, docs = _positives(prepared)
    scores = activated(pairs.find(rows, docs[:, None])[:, 0], activation)
    threshold = fit_threshold(config, scores)
    below = int((scores < threshold).sum())
    checks = Checks(pairs, config, activation, threshold, int(scores.size), below)
    _report(checks)
    return checks


def _positives(prepared: Prepared) -> tuple[I64, I64]:
    """Each labelled pair of a mined query: query rows and document rows, int64 [P]."""
    rows, docs = prepared.qrels.pairs()
    mined = np.isin(rows, prepared.queries.rows)
    return rows[mined], docs[mined]


def _report(checks: Checks) -> None:
    config, share = checks.config, checks.positives_below / max(checks.positives, 1)
    how = "negative_below"
    if config.calibrate == "positives_quantile":
        how = f"the quantile {config.quantile:g} of the labelled positives - {config.margin:g}"
    logger.info(
        "denoise: negatives score below %.4g (%s); so do %.1f%% of the %d labelled positives",
        checks.threshold,
        how,
        100 * share,
        checks.positives,
    )
    if checks.threshold > config.positive_above:
        logger.warning(
            "denoise: the threshold %.4g is over filters.denoise.positive_above=%g, so likely"
            " positives are kept as negatives; lower filters.denoise.quantile",
            checks.threshold,
            config.positive_above,
        )


def write_missing_labels(
    checks: Checks, prepared: Prepared, candidates: Candidates, reasons_QK: U16, path: Path
) -> int:
    """Write candidates over `positive_above` that no label knows, best first for each query.

    Parquet with query_id, doc_id and the activated score; returns the number of rows.
    """
    dataset, rank_N = prepared.dataset, prepared.dataset.corpus.ids.rank_N
    count = 0
    with atomic_write(path) as handle, pq.ParquetWriter(handle, _MISSING_SCHEMA) as writer:
        for block, reasons in _blocks(candidates, reasons_QK):
            rows, columns = np.nonzero(checks.likely_positive(block, reasons))
            docs = block.ids[rows, columns]
            scores = checks.scores(block)[rows, columns]
            order = np.lexsort((rank_N[docs], -scores, rows))
            columns_of = [
                pa.array(dataset.queries.id_strings(block.query_rows[rows[order]]), pa.string()),
                pa.array(dataset.corpus.id_strings(docs[order]), pa.string()),
                pa.array(scores[order], pa.float32()),
            ]
            writer.write_table(pa.Table.from_arrays(columns_of, schema=_MISSING_SCHEMA))
            count += rows.size
    return count


def write_teacher(checks: Checks, prepared: Prepared, candidates: Candidates, path: Path) -> int:
    """Write the log-odds of every scored pair, positives included: what distillation needs.

    Rows by query, then by the document's row in the corpus; returns their number.
    """
    dataset, scores = prepared.dataset, checks.pairs
    with atomic_write(path) as handle, pq.ParquetWriter(handle, _TEACHER_SCHEMA) as writer:
        for start in range(0, scores.pairs.size, _BLOCK * 64):
            part = slice(start, start + _BLOCK * 64)
            places, docs = np.divmod(np.asarray(scores.pairs[part]), scores.documents)
            rows = np.asarray(candidates.query_rows)[places]
            columns = [
                pa.array(dataset.queries.id_strings(rows), pa.string()),
                pa.array(dataset.corpus.id_strings(docs), pa.string()),
                pa.array(np.asarray(scores.scores[part]), pa.float32()),
                pa.array(_labelled(prepared.qrels, rows, docs), pa.bool_()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=_TEACHER_SCHEMA))
    return int(scores.pairs.size)


def _labelled(qrels: Qrels, rows_P: I64, docs_P: I64) -> Bool:
    return np.asarray(qrels.is_positive(rows_P, docs_P[:, None])[:, 0])


def _blocks(candidates: Candidates, reasons_QK: U16) -> Iterator[tuple[Candidates, U16]]:
    for start in range(0, candidates.query_rows.size, _BLOCK):
        stop = min(start + _BLOCK, candidates.query_rows.size)
        yield candidates.block(start, stop), np.asarray(reasons_QK[start:stop])

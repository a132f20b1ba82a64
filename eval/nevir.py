"""NevIR: does a model notice a negation? Pairs of queries and documents that differ in one.

Weller, Lawrie, Van Durme, "NevIR: Negation in Neural Information Retrieval" (arXiv 2305.07614). A
file has `q1`, `q2`, `doc1`, `doc2` in each row: doc1 answers q1 and not q2, doc2 the other way.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from scipy import stats

from ..core.config import Section
from ..core.cross_encoder import CrossEncoderConfig, CrossEncoderScorer, PairScorer, score_pairs
from ..core.encoder import F32, Encoder, Role, plan_batches
from ..core.errors import PyriteError
from ..core.json_lines import json_object, whole_text
from ..core.run import RunConfig, build_encoder
from ..core.sbert import EncoderConfig
from ..core.used import ALL, Used, only
from .measures import F64

COLUMNS = ("q1", "q2", "doc1", "doc2")
RANDOM = 0.25
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson")
_MAX_FIELD = 2**24
# kinds of encoder whose name is `encoder.model`
_WITH_MODEL = ("sentence-transformers", "onnx")
# scores of queries and documents that stand beside each other
Scores = Callable[[Sequence[str], Sequence[str]], F64]


class ReaderConfig(CrossEncoderConfig):
    """A model that reads query and document together."""

    model: str | None = Field(
        None, min_length=1, description="a cross-encoder in the place of `encoder`: path or hub id"
    )

    USED = (only(ALL, "model", off=None, instead="set {at}model"),)


class NevirConfig(Section):
    """Which model ranks the pairs."""

    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0: one for each core")
    cache_dir: str = Field("runs/.cache", description="what an encoder keeps beside its vectors")
    encoder: EncoderConfig = EncoderConfig()
    cross_encoder: ReaderConfig = ReaderConfig()

    USED = (
        Used(
            ("encoder",),
            ("cross_encoder.model",),
            lambda config: config.cross_encoder.model is None,
            "set cross_encoder.model=null",
        ),
    )


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two queries and their documents."""

    queries: tuple[str, str]
    documents: tuple[str, str]


@dataclass(frozen=True, slots=True)
class PairedAccuracy:
    """Of `pairs` rows, those ranked right for both queries; a tie is wrong.

    `first` and `second` count rows that are right for q1 and for q2, `ties` those with a tie for
    either.
    """

    model: str
    pairs: int
    correct: int
    first: int
    second: int
    ties: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.pairs

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's interval of the accuracy."""
        found = stats.binomtest(self.correct, self.pairs).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        names = ("model", "pairs", "correct", "accuracy", "first", "second", "ties")
        return {name: getattr(self, name) for name in names} | {
            "ci95": list(self.ci95),
            "random": RANDOM,
        }

    def sentence(self) -> str:
        """What a person learns from it."""
        low, high = self.ci95
        return (
            f"{self.model}: {self.correct:,} of {self.pairs:,} pairs right for both queries,"
            f" {self.accuracy:.1%} [{low:.1%}, {high:.1%}]; chance is {RANDOM:.0%}; ties, which are"
            f" wrong: {self.ties:,}"
        )


def read_contrasts(path: Path) -> list[Contrast]:
    """Rows of a csv, tsv or JSON lines file with the columns q1, q2, doc1, doc2; others are passed.

    Raises PyriteError with the row of a missing or empty field, and for a file without rows.
    """
    if not path.is_file():
        raise PyriteError(f"{path}: no such file; name one with the columns {', '.join(COLUMNS)}")
    if path.suffix not in (*_DELIMITERS, *_JSON):
        raise PyriteError(
            f"{path}: its name ends in none of {', '.join((*_DELIMITERS, *_JSON))}; rename it after"
            " what it is"
        )
    rows = _json_rows(path) if path.suffix in _JSON else _delimited_rows(path)
    found = [_contrast(row, where) for where, row in rows]
    if not found:
        raise PyriteError(f"{path}: no rows; at least one pair is needed")
    return found


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as handle:
        for line, raw in enumerate(handle, start=1):
            if raw.strip():
                yield f"{path}:{line}", json_object(raw, f"{path}:{line}")


def _delimited_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # a document may be longer than csv expects of a field
    before = csv.field_size_limit(_MAX_FIELD)
    reader = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, delimiter=_DELIMITERS[path.suffix])
            for row in reader:
                yield f"{path}:{reader.line_num}", row
    except (csv.Error, UnicodeDecodeError) as error:
        line = 1 if reader is None else reader.line_num
        raise PyriteError(f"{path}:{line}: not readable ({error}); mend the file") from error
    finally:
        csv.field_size_limit(before)


def _contrast(row: dict[str, Any], where: str) -> Contrast:
    texts = []
    for name in COLUMNS:
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise PyriteError(
                f"{where}: field {name!r} is empty or missing; each row needs {', '.join(COLUMNS)}"
            )
        texts.append(whole_text(value, name, where))
    return Contrast((texts[0], texts[1]), (texts[2], texts[3]))


def paired_accuracy(scores_P22: F64, model: str) -> PairedAccuracy:
    """Count right rows; `scores_P22` [P, 2, 2] are those of query i and document j of each row.

    Raises PyriteError on a score that is not finite.
    """
    if not np.isfinite(scores_P22).all():
        raise PyriteError(f"{model}: a score is not finite; check the model or its dtype")
    first = scores_P22[:, 0, 0] > scores_P22[:, 0, 1]
    second = scores_P22[:, 1, 1] > scores_P22[:, 1, 0]
    ties = (scores_P22[:, :, 0] == scores_P22[:, :, 1]).any(axis=1)
    right = int((first & second).sum())
    return PairedAccuracy(
        model, len(scores_P22), right, int(first.sum()), int(second.sum()), int(ties.sum())
    )


def contrast_scores(contrasts: Sequence[Contrast], scores: Scores) -> F64:
    """Scores of both queries with both documents, float64 [P, 2, 2]."""
    pairs = [(q, d) for one in contrasts for q in one.queries for d in one.documents]
    found = scores([query for query, _ in pairs], [document for _, document in pairs])
    return np.asarray(found, dtype=np.float64).reshape(-1, 2, 2)


def encoder_scores(encoder: Encoder, max_tokens: int) -> Scores:
    """Inner products of an encoder's vectors; equal texts are encoded once, so they tie."""

    def scores(queries: Sequence[str], documents: Sequence[str]) -> F64:
        asked_PD = _vectors(encoder, queries, "query", max_tokens).astype(np.float64)
        told_PD = _vectors(encoder, documents, "document", max_tokens).astype(np.float64)
        return np.asarray((asked_PD * told_PD).sum(axis=1))

    return scores


def _vectors(encoder: Encoder, texts: Sequence[str], role: Role, max_tokens: int) -> F32:
    distinct = list(dict.fromkeys(texts))
    encode = encoder.encode_queries if role == "query" else encoder.encode_documents
    vectors = np.empty((len(distinct), encoder.dimension), dtype=np.float32)
    for batch in plan_batches(encoder.lengths(distinct, role), max_tokens):
        vectors[batch] = encode([distinct[at] for at in batch])
    place = {text: at for at, text in enumerate(distinct)}
    return vectors[[place[text] for text in texts]]


def pair_scorer_scores(scorer: PairScorer, max_tokens: int) -> Scores:
    """Log-odds of a cross-encoder."""

    def scores(queries: Sequence[str], documents: Sequence[str]) -> F64:
        return score_pairs(scorer, queries, documents, max_tokens).astype(np.float64)

    return scores


def nevir(path: Path, config: NevirConfig) -> PairedAccuracy:
    """Paired accuracy of the configured model on a file that `read_contrasts` reads.

    Raises PyriteError for a malformed file and for a model that cannot be loaded.
    """
    contrasts = read_contrasts(path)
    reader = config.cross_encoder
    run = RunConfig(threads=config.threads, cache_dir=config.cache_dir, encoder=config.encoder)
    if reader.model is None:
        kind, encoder = config.encoder.kind, build_encoder(run)
        name = config.encoder.model if kind in _WITH_MODEL else kind
        scores = encoder_scores(encoder, config.encoder.token_budget)
    else:
        name, scorer = reader.model, CrossEncoderScorer(reader.model, reader, "cross_encoder")
        scores = pair_scorer_scores(scorer, reader.token_budget)
    return paired_accuracy(contrast_scores(contrasts, scores), name)

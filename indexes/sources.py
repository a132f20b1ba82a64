"""Sources of candidates: dense indexes, lexical indexes and run files behind one call."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import Field, model_validator

from ..core.config import Section
from ..core.digest import digest_array, digest_json
from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.run import Prepared
from ..core.tables import TextTable
from ..core.used import Used, only
from .config import IndexConfig
from .dense import DenseIndex, open_dense, open_exact
from .lexical import LexicalConfig, LexicalIndex, lexical_key, open_lexical
from .recall import Recall, measure_recall
from .run_file import RunFile, read_run

if TYPE_CHECKING:
    from ..core.engine.session import Session

logger = logging.getLogger(__name__)

Kind = Literal["dense", "bm25s", "lucene", "run"]


class SourceConfig(Section):
    """One retriever of a run."""

    kind: Kind = Field("dense", description="the encoder's vectors, BM25, or a run file")
    name: str | None = Field(None, description="in reports and exports; null: the kind")
    quota: int | None = Field(None, ge=1, description="documents per query; null: retrieve.depth")
    weight: float = Field(1.0, gt=0, description="in rrf and score fusion")
    query: Literal["query", "positive"] = Field(
        "query", description="for kind dense: positive searches with the query's positive document"
    )
    index: IndexConfig = Field(IndexConfig(), description="for kind dense")
    lexical: LexicalConfig = Field(LexicalConfig(), description="for kinds bm25s and lucene")
    path: str | None = Field(None, description="for kind run: a TREC run or candidates.parquet")

    USED = (
        only("index", "kind", "dense"),
        only("lexical", "kind", "bm25s", "lucene"),
        Used(
            ("lexical.backend",),
            ("kind",),
            lambda source: source.lexical.backend == source.kind,
            "set {at}kind to it",
        ),
    )

    @model_validator(mode="after")
    def _run_has_path(self) -> SourceConfig:
        if (self.kind == "run") != (self.path is not None):
            raise ValueError(
                f"kind={self.kind} with path={self.path}: a run needs a path, and only"
                " a run has one"
            )
        return self

    @model_validator(mode="after")
    def _positive_is_dense(self) -> SourceConfig:
        if self.query == "positive" and self.kind != "dense":
            raise ValueError(
                f"kind={self.kind} with query=positive: only a source of kind dense can search with"
                " the positive document; set query=query"
            )
        return self

    @property
    def label(self) -> str:
        return self.name or self.kind


@dataclass(frozen=True, slots=True)
class SearchInputs:
    """What there is to search: the tables, the query rows, and vectors where there is an encoder.

    `rows` int64 [Q] are rows of `queries`; `query_vectors` has Q rows in the same order.
    `positives` int64 [Q] are the corpus rows that a source with `query: positive` searches with;
    None where there are none to search with, as in an evaluation. `session` has the workers that
    hold the shards of an exact dense source; None: everything is searched here.
    """

    queries: TextTable
    corpus: TextTable
    rows: I64
    query_vectors: Embeddings | None
    corpus_vectors: Embeddings | None
    positives: I64 | None = None
    session: Session | None = None

    @classmethod
    def of(cls, prepared: Prepared, positives: I64 | None = None) -> SearchInputs:
        """The inputs of a prepared dataset."""
        return cls(
            prepared.dataset.queries,
            prepared.dataset.corpus,
            prepared.queries.rows,
            prepared.queries.embeddings,
            prepared.corpus,
            positives,
            prepared.session,
        )


class Source(Protocol):
    """A retriever that is ready to search."""

    @property
    def key(self) -> str:
        """Digest of everything that decides what it finds."""

    def search(self, start: int, stop: int, k: int) -> tuple[I64, F32]:
        """Top `k` of the queries `start` to `stop`: ids and its own scores, padded."""

    def memory_bytes(self, batch: int, k: int) -> int:
        """Bound of one search, in bytes."""


@runtime_checkable
class Pipelined(Protocol):
    """A source or an index that gains from several searches under way, from as many threads."""

    @property
    def at_once(self) -> int:
        """How many."""


def searches_at_once(sources: Sequence[Source]) -> int:
    """How many blocks may be under way: as many as every one of the sources can take."""
    return min(s.at_once if isinstance(s, Pipelined) else 1 for s in sources)


class DenseSource:
    """A dense index over the corpus vectors, searched with `vectors` or some `rows` of them."""

    def __init__(
        self, index: DenseIndex, vectors: Embeddings, key: str, rows: I64 | None = None
    ) -> None:
        self._index = index
        self._vectors = vectors
        self._key = key
        self._rows = np.arange(len(vectors)) if rows is None else rows

    @property
    def key(self) -> str:
        return self._key

    @property
    def at_once(self) -> int:
        return self._index.at_once if isinstance(self._index, Pipelined) else 1

    def search(self, start: int, stop: int, k: int) -> tuple[I64, F32]:
        return self._index.search(self._vectors.take(self._rows[start:stop]), k)

    def memory_bytes(self, batch: int, k: int) -> int:
        return self._index.memory_bytes(batch, k)


class LexicalSource:
    """A lexical index over the corpus texts."""

    def __init__(self, index: LexicalIndex, inputs: SearchInputs, key: str) -> None:
        self._index = index
        self._inputs = inputs
        self._key = key

    @property
    def key(self) -> str:
        return self._key

    def search(self, start: int, stop: int, k: int) -> tuple[I64, F32]:
        texts = self._inputs.queries.texts(self._inputs.rows[start:stop])
        return self._index.search(texts, k)

    def memory_bytes(self, batch: int, k: int) -> int:
        return self._index.memory_bytes(batch, k)


class RunSource:
    """A run file."""

    def __init__(self, run: RunFile, inputs: SearchInputs) -> None:
        self._run = run
        self._rows = inputs.rows
        # the tables say which rows the ids of the file are
        self._key = digest_json([run.digest, inputs.corpus.digest, inputs.queries.digest])

    @property
    def key(self) -> str:
        return self._key

    def search(self, start: int, stop: int, k: int) -> tuple[I64, F32]:
        return self._run.search(self._rows[start:stop], k)

    def memory_bytes(self, batch: int, k: int) -> int:
        return 12 * (batch * k + self._run.docs.size)


def open_source(
    config: SourceConfig, inputs: SearchInputs, depth: int, cache: Path, threads: int, key: str
) -> tuple[Source, Recall | None]:
    """Open one source; an approximate index comes with its measured recall.

    `key` is what errors call the section. Raises PyriteError for a dense source without an encoder,
    and what each kind raises.
    """
    k = min(config.quota or depth, len(inputs.corpus))
    if inputs.session is not None and not (config.kind == "dense" and config.index.exact):
        inputs.session.plan(
            f"search: source {config.label} on the driver, as only exact dense search has shards"
        )
    if config.kind == "dense":
        return _open_dense(config, inputs, k, cache, threads, f"{key}.index")
    if config.path is not None:
        run = read_run(Path(config.path), inputs.queries, inputs.corpus)
        if run.ignored:
            logger.warning("%s: %d lines of queries that are not there", config.path, run.ignored)
        return RunSource(run, inputs), None
    settings = config.lexical.model_copy(update={"backend": config.kind})
    index = open_lexical(settings, inputs.corpus, cache, threads)
    identity = digest_json([inputs.queries.digest, lexical_key(settings, inputs.corpus)])
    return LexicalSource(index, inputs, identity), None


def _open_dense(
    config: SourceConfig, inputs: SearchInputs, k: int, cache: Path, threads: int, section: str
) -> tuple[Source, Recall | None]:
    corpus, vectors = inputs.corpus_vectors, inputs.query_vectors
    if corpus is None or vectors is None:
        raise PyriteError("a source of kind dense needs an encoder; set encoder.model")
    rows = _searched_rows(config, inputs)
    rank_N = inputs.corpus.ids.rank_N
    index: DenseIndex
    if inputs.session is not None and config.index.exact:
        # it loads FAISS, for which a mistake in the configuration need not wait
        from .shards import shards_of

        index = shards_of(config.index, corpus, rank_N, inputs.session, section)
    else:
        index = open_dense(config.index, corpus, rank_N, cache, k, threads, section)
    # exact search gives the same bytes on every backend and device, so they are not in its key
    exact = config.index.exact
    settings = None if exact else config.index.model_dump(mode="json")
    by: str | list[str] = vectors.identity
    if rows is not None:
        vectors, by = corpus, ["positive", digest_array(rows)]
    key = digest_json(["dense", corpus.identity, by, settings])
    recall = None
    if not exact:
        plain = IndexConfig(device=config.index.device)
        truth = open_exact(plain, corpus, rank_N, threads, section)
        recall = measure_recall(index, truth, vectors, config.index, k, section)
    return DenseSource(index, vectors, key, rows), recall


def _searched_rows(config: SourceConfig, inputs: SearchInputs) -> I64 | None:
    """The corpus rows that are searched with, None for the queries."""
    if config.query == "query":
        return None
    if inputs.positives is None:
        raise PyriteError(
            f"source {config.label!r} has query=positive, but an evaluation may search with queries"
            " only; set query=query there"
        )
    return inputs.positives

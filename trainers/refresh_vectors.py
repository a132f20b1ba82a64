"""The vectors that a generation is mined with: all anew, or as `refresh.partial` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core.beir import Dataset
from ..core.digest import digest_json
from ..core.embeddings import Embeddings, StoreLayout
from ..core.encoder import F32, Encoder
from ..core.encoders.build import embed_table
from ..core.run import Prepared, QuerySet, open_queries, session_of
from ..core.sbert import SentenceTransformerEncoder
from ..core.store import Manifest, read_array
from ..miner.partial_corpus import partial_corpus
from .generations import Generation
from .run_config import TrainConfig


def prepare_generation(
    run: TrainConfig, config: TrainConfig, encoder: Encoder, number: int, last: Generation | None
) -> tuple[Prepared, dict[str, Any] | None]:
    """Vectors of the corpus and of the queries that generation `number` mines.

    `config` is `run` with the weights of `encoder`. Also returned: the report of a partial refresh.
    """
    dataset, qrels, rows = open_queries(config, config.dataset.train_split, more_qrels=True)
    session = session_of(config) if config.engine == "ray" else None
    chunk = config.refresh.chunk
    rows = rows[np.arange(rows.size) % chunk == number % chunk]
    tokens, layout = config.encoder.token_budget, StoreLayout(config.encoder.store)
    queries = embed_table(encoder, dataset.queries, "query", config.cache, tokens, rows, layout)
    partial = config.refresh.partial
    if partial.kind == "off":
        corpus = embed_table(
            encoder, dataset.corpus, "document", config.cache, tokens, None, layout
        )
        return Prepared(dataset, qrels, corpus, QuerySet(rows, queries), session), None
    asked_QD: F32 = queries.take(np.arange(rows.size))
    stale = _first(run, dataset) if last is None else _of(last, config.cache)
    corpus, report = partial_corpus(
        *(partial, encoder, dataset.corpus, stale, asked_QD, config.cache, tokens, layout),
        seed=config.seed,
        generation=number,
    )
    prepared = Prepared(dataset, qrels, corpus, QuerySet(rows, queries), session)
    return prepared, None if report is None else report.as_json()


def _first(run: TrainConfig, dataset: Dataset) -> Embeddings:
    """What generation 0 was mined with: it is in the run's cache."""
    encoder, layout = SentenceTransformerEncoder(run.encoder), StoreLayout(run.encoder.store)
    tokens = run.encoder.token_budget
    return embed_table(encoder, dataset.corpus, "document", run.cache, tokens, None, layout)


def _of(last: Generation, cache: Path) -> Embeddings | None:
    """The vectors of an earlier generation, or None if they are gone: then all are encoded."""
    key = str(last.manifest.data["vectors"])
    folder = cache / "embeddings" / key
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.intact(folder):
        return None
    shards = tuple(read_array(p) for p in sorted(folder.glob("*.npy")) if p.name != "texts.npy")
    return Embeddings(shards, max(len(shards[0]), 1), key, digest_json(manifest.data["files"]))

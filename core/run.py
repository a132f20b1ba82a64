"""What every verb's configuration has, and the dataset with its vectors that every verb needs."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from .beir import Dataset
from .config import Section
from .dataset import DatasetConfig, open_dataset
from .embeddings import Embeddings, StoreLayout
from .encoder import Encoder
from .encoders import build as encoders
from .encoders.build import embed_table
from .engine.config import RAY_IS_USED, EngineName, RayConfig
from .errors import PyriteError
from .ids import I64
from .qrels_union import unite_qrels
from .query_encoder import refuse_query_encoder
from .sbert import EncoderConfig
from .tables import Qrels
from .used import Rules

if TYPE_CHECKING:
    from .engine.session import Session


class FolderConfig(Section):
    """A run's name, its folders and its seed."""

    name: str = Field("run", pattern=r"^[\w-][\w.-]*$", description="folder below runs_dir")
    runs_dir: str = Field("runs", description="where the runs' folders are made")
    cache_dir: str = Field("runs/.cache", description="embeddings and candidates, shared by runs")
    seed: int = Field(0, ge=0, lt=2**63, description="of every draw, order and new weight")

    @property
    def run_folder(self) -> Path:
        return Path(self.runs_dir) / self.name

    @property
    def cache(self) -> Path:
        return Path(self.cache_dir)


class RunConfig(FolderConfig):
    """A run: its name, its folders, its seed, its data and its model."""

    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0: one for each core")
    engine: EngineName = Field("local", description="this process, or the workers of Ray")
    ray: RayConfig = RayConfig()
    dataset: DatasetConfig = DatasetConfig()
    encoder: EncoderConfig = EncoderConfig()

    USED: ClassVar[Rules] = (RAY_IS_USED,)


def check_folders(config: FolderConfig) -> None:
    """Raise PyriteError, before any work, unless files can be made below `runs_dir`, `cache_dir`.

    Nothing is left behind: the first folder above that is there already is tried.
    """
    for key, path in (("runs_dir", config.run_folder), ("cache_dir", config.cache)):
        whole = path.absolute()
        there = next(p for p in (whole, *whole.parents) if os.path.lexists(p))
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise PyriteError(
                f"{key}={getattr(config, key)}: cannot write in {there} ({error.strerror}); set"
                f" {key} to a folder that can be written"
            ) from error


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Queries to search for: table rows in ascending id order, and their vectors."""

    rows: I64
    embeddings: Embeddings


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset with its vectors, and the workers of the run where it has any."""

    dataset: Dataset
    qrels: Qrels
    corpus: Embeddings
    queries: QuerySet
    session: Session | None = None


def build_encoder(config: RunConfig) -> Encoder:
    """The encoder of a configuration, with the configured number of threads.

    With `engine: ray` its blocks are encoded by the workers.
    """
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    if config.engine == "ray":
        from .engine.encoding import ray_encoder

        return ray_encoder(config.encoder, config.cache, session_of(config))
    return encoders.build_encoder(config.encoder, config.cache)


def session_of(config: RunConfig) -> Session:
    """The session with Ray of a configuration with `engine: ray`; opened at the first call."""
    from .engine.session import open_session

    return open_session(config.ray, config.threads)


def open_queries(
    config: RunConfig, split: str, more_qrels: bool = False, all_judged: bool = False
) -> tuple[Dataset, Qrels, I64]:
    """The dataset, the judgements of `split`, and the rows of its queries that have positives.

    Rows are in ascending query-id order: the order of the file decides nothing from here on.
    `more_qrels` unites the judgements of these queries with those of `dataset.qrels`; `all_judged`
    takes queries without a positive too.
    """
    dataset = open_dataset(config.dataset, config.cache)
    qrels = dataset.qrels(split, config.dataset.min_grade)
    rows = np.flatnonzero(np.diff(qrels.indptr)) if all_judged else qrels.with_positives()
    if more_qrels:
        qrels = unite_qrels(qrels, config.dataset.qrels, dataset)
    return dataset, qrels, rows[np.argsort(dataset.queries.ids.rank_N[rows], kind="stable")]


def prepare(
    config: RunConfig,
    encoder: Encoder,
    split: str,
    more_qrels: bool = False,
    query_encoder: Encoder | None = None,
    all_judged: bool = False,
) -> Prepared:
    """Open the dataset and encode its corpus and the queries of `split` that have positives.

    `more_qrels` is for mining: an evaluation stays on the split's own judgements. `query_encoder`
    encodes the queries in the place of `encoder`; `all_judged` as in `open_queries`. Raises
    PyriteError if `config.encoder` is fit for queries only.
    """
    refuse_query_encoder(config.encoder.model)
    session = None
    if config.engine == "ray":
        from .engine.encoding import given_encoder

        session = session_of(config)
        encoder = given_encoder(encoder, session)
        query_encoder = None if query_encoder is None else given_encoder(query_encoder, session)
    dataset, qrels, rows = open_queries(config, split, more_qrels, all_judged)
    layout = StoreLayout(config.encoder.store)
    tokens = config.encoder.token_budget
    corpus = embed_table(encoder, dataset.corpus, "document", config.cache, tokens, None, layout)
    asking = query_encoder or encoder
    vectors = embed_table(asking, dataset.queries, "query", config.cache, tokens, rows, layout)
    return Prepared(dataset, qrels, corpus, QuerySet(rows, vectors), session)


def prepare_mining(config: RunConfig, encoder: Encoder) -> Prepared:
    """The training split, its judgements united with those of `dataset.qrels`."""
    return prepare(config, encoder, config.dataset.train_split, more_qrels=True)

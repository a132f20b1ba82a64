"""The feed that a configuration describes, written to the run's folder."""

from __future__ import annotations

import logging

import numpy as np

from ..core.dataset import open_dataset, text_hashes
from ..core.digest import digest_json
from ..core.encoder import F32
from ..core.run import build_encoder, prepare_mining
from ..miner.mine import MineConfig, Mined
from ..miner.negatives_file import FILE, NegativeRows, read_scored
from .feed import Feed, open_feed
from .pool import SCHEMA, Pools, write_pool
from .row_table import RowTable, query_rows_of, write_rows
from .train_config import TrainSection
from .training_set import TrainingSet, training_set

logger = logging.getLogger(__name__)

FOLDER = "feed"


def make_feed(
    run: MineConfig, config: TrainSection, mined: Mined, system: str, n: int
) -> tuple[TrainingSet, Feed]:
    """Rows and negatives of the training named `system`, which takes `n` negatives a row.

    What is mined becomes generation 0 below `feed` in the run's folder. Raises PyriteError as
    `read_scored` and `open_feed`.
    """
    dataset = open_dataset(run.dataset, run.cache)
    qrels = dataset.qrels(run.dataset.train_split, run.dataset.min_grade)
    scored = read_scored(mined.folder / FILE, dataset.queries, dataset.corpus, run.sampler.total)
    hashes = np.asarray(text_hashes(dataset.corpus, run.cache))
    pairs = training_set(qrels, NegativeRows(scored.query_rows, scored.ids), hashes, 0)
    folder = run.run_folder / FOLDER
    rows = write_rows(folder / f"rows-{config.positives}", pairs, dataset, config.positives)
    queries = query_rows_of(pairs)
    key = digest_json([SCHEMA, mined.manifest.data["key"], len(queries), scored.ids.shape[1]])
    write_pool(folder, 0, scored, queries, key)
    vectors = _vectors(run, rows) if config.batches == "ngame" else None
    feed = open_feed(folder, rows, dataset, vectors, config, n, run.seed, system)
    _report(rows, Pools(folder), config, system, n)
    return pairs, feed


def _vectors(run: MineConfig, rows: RowTable) -> F32:
    """The mined vectors of the rows' queries, float32 [R, D]."""
    found = prepare_mining(run, build_encoder(run)).queries
    order = np.argsort(found.rows, kind="stable")
    at = order[np.searchsorted(found.rows, rows.queries.array, sorter=order)]
    return found.embeddings.take(at)


def _report(rows: RowTable, pools: Pools, config: TrainSection, system: str, n: int) -> None:
    lengths = (pools[0].ids >= 0).sum(axis=1)[rows.places.array]
    logger.info(
        "training %s: %d rows, %d negatives a row (%s) of %.1f mined, %d of them missing and"
        " masked; %d rows of each epoch fill no batch",
        system,
        len(rows),
        n,
        config.draw,
        lengths.mean() if n else 0.0,
        int(np.maximum(n - lengths, 0).sum()),
        len(rows) % config.batch_size,
    )

"""The feed that a configuration describes, written to the run's folder."""

from __future__ import annotations

import logging

import numpy as np

from ..core.dataset import open_dataset, text_hashes
from ..core.digest import digest_json
from ..core.encoder import F32
from ..core.qrels_union import unite_qrels
from ..core.run import build_encoder, prepare_mining
from ..miner.denoise_checks import TEACHER
from ..miner.made.made_file import MadeTexts
from ..miner.mine import MineConfig, Mined
from ..miner.negatives_file import FILE, NegativeRows, read_scored
from ..miner.vectors import Vectors
from .arguments import check_fills
from .feed import Feed, open_feed
from .made_config import MadeSection
from .made_pool import MadePool, opened, text_hashes_of, write_made_pool
from .pool import SCHEMA, Pools, write_pool
from .row_table import RowTable, asked_of, write_rows
from .teacher import open_teacher
from .train_config import TrainSection
from .training_set import TrainingSet, training_set

logger = logging.getLogger(__name__)

FOLDER = "feed"


def make_feed(
    run: MineConfig,
    config: TrainSection,
    mined: Mined,
    system: str,
    n: int,
    made_config: MadeSection | None = None,
) -> tuple[TrainingSet, Feed]:
    """Rows and negatives of the training named `system`, which takes `n` mined negatives a row.

    Beside them it takes those that `made_config` says, but none where `n` is 0.

    What is mined becomes generation 0 below `feed` in the run's folder. Raises PyriteError as
    `read_scored` and `open_feed`, or if the rows do not fill one batch.
    """
    dataset = open_dataset(run.dataset, run.cache)
    qrels = dataset.qrels(run.dataset.train_split, run.dataset.min_grade)
    scored = read_scored(mined.folder / FILE, dataset.queries, dataset.corpus, run.sampler.total)
    hashes = np.asarray(text_hashes(dataset.corpus, run.cache))
    made = opened(made_config, dataset) if n and made_config is not None else None
    if made is not None:
        hashes = np.concatenate((hashes, text_hashes_of(made)))
    each = scored.positive_rows is not None
    negatives = NegativeRows(scored.query_rows, scored.ids, scored.positive_rows)
    judged = unite_qrels(qrels, run.dataset.qrels, dataset)
    pairs = training_set(qrels, negatives, hashes, 0, judged)
    folder = run.run_folder / FOLDER
    kind = ("each" if each else config.positives) + ("-made" if made is not None else "")
    ids = None if made is None else made.table.id_hashes()
    rows = write_rows(folder / f"rows-{kind}", pairs, dataset, config.positives, each, ids)
    asked, mined_key = asked_of(pairs, each), mined.manifest.data["key"]
    key = digest_json([SCHEMA, mined_key, asked.query_rows.size, scored.ids.shape[1]])
    write_pool(folder, 0, scored, asked, key)
    teacher = None
    if config.loss.needs_teacher or config.doubt != "none":
        teacher = open_teacher(mined.folder / TEACHER, dataset, folder / "teacher", mined_key)
    vectors = _vectors(run, rows) if config.batches == "ngame" else None
    # a feed begins the record of its steps anew, so it is opened for what can be trained only
    check_fills(len(rows), config.batch_size)
    own = None
    if made is not None and made_config is not None:
        own = write_made_pool(folder / "made", made, dataset, made_config.negatives)
        _report_made(made, rows, own)
    feed = open_feed(folder, rows, dataset, vectors, config, n, run.seed, system, teacher, own)
    _report(rows, Pools(folder), config, system, n)
    return pairs, feed


def _vectors(run: MineConfig, rows: RowTable) -> F32:
    """The mined vectors of the rows' queries, float32 [R, D]."""
    vectors = Vectors.of(prepare_mining(run, build_encoder(run)))
    return vectors.of_queries(np.asarray(rows.queries.array))


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


def _report_made(made: MadeTexts, rows: RowTable, pool: MadePool) -> None:
    counts = np.diff(pool.starts.array)[rows.queries.array]
    logger.info(
        "beside them up to %d made negatives a row of %d texts; %d of %d rows have none",
        pool.n,
        len(made.table),
        int((counts == 0).sum()),
        len(rows),
    )

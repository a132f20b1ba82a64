"""Candidates: the top documents of each query, retrieved once and kept by content key."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from ..core.candidates import Candidates
from ..core.config import Section
from ..core.digest import digest_array, digest_json
from ..core.embeddings import Embeddings
from ..core.ids import I64
from ..core.progress import progress
from ..core.run import QuerySet
from ..core.store import (
    Manifest,
    discard,
    join_arrays,
    part_done,
    read_array,
    remove_parts,
    write_array,
    write_part,
)
from .flat import FlatIndex

logger = logging.getLogger(__name__)

SCHEMA = 1


class RetrieveConfig(Section):
    """How deep to look for negatives."""

    depth: int = Field(200, ge=1, description="candidates per query, K")
    block_queries: int = Field(256, ge=1, description="queries searched at a time")


def retrieve(
    queries: QuerySet,
    corpus: Embeddings,
    rank_N: I64,
    config: RetrieveConfig,
    cache: Path,
    threads: int,
) -> tuple[Candidates, str]:
    """Search every query, block by block; a killed run goes on at the block it was in.

    Returns mapped candidates and their key. The key covers both embeddings, the queries, the tie
    order and the depth; block size and threads are not part of it because they change nothing.
    Raises PyriteError if the depth is over the corpus size.
    """
    key = digest_json(
        {
            "schema": SCHEMA,
            "queries": queries.embeddings.key,
            "corpus": corpus.key,
            "rows": digest_array(queries.rows),
            "rank": digest_array(rank_N),
            "depth": config.depth,
        }
    )
    folder = cache / "candidates" / key
    manifest = Manifest.read(folder)
    if manifest is not None and not manifest.intact(folder):
        logger.warning("%s does not match its manifest: searching again", folder)
        discard(folder)
        manifest = None
    if manifest is None:
        index = FlatIndex(corpus, rank_N, threads)
        bound = index.memory_bytes(config.block_queries, config.depth)
        logger.info(
            "search: %d queries, %d documents, k=%d, at most %.0f MiB",
            queries.rows.size,
            len(index),
            config.depth,
            bound / 2**20,
        )
        _search_blocks(queries, index, config, folder)
        _join(folder, queries.rows, config)
        Manifest.write(
            folder,
            schema=SCHEMA,
            kind="candidates",
            source="dense",
            rows=int(queries.rows.size),
            depth=config.depth,
        )
        remove_parts(folder)
    return Candidates(
        np.asarray(read_array(folder / "query_rows.npy")),
        read_array(folder / "ids.npy"),
        read_array(folder / "scores.npy"),
        "dense",
    ), key


def _starts(rows: I64, config: RetrieveConfig) -> Iterator[int]:
    return iter(range(0, rows.size, config.block_queries))


def _parts(folder: Path, start: int, config: RetrieveConfig) -> tuple[Path, Path]:
    # the block size is in the name: a run resumed with another one starts its own parts
    stem = f"part-{config.block_queries}-{start:09d}"
    return folder / f"{stem}-ids.npy", folder / f"{stem}-scores.npy"


def _search_blocks(
    queries: QuerySet, index: FlatIndex, config: RetrieveConfig, folder: Path
) -> None:
    with progress("search", total=queries.rows.size, unit="queries") as bar:
        for start in _starts(queries.rows, config):
            stop = min(start + config.block_queries, queries.rows.size)
            ids_path, scores_path = _parts(folder, start, config)
            if not (part_done(ids_path) and part_done(scores_path)):
                vectors = queries.embeddings.take(np.arange(start, stop))
                ids, scores = index.search(vectors, config.depth)
                write_part(ids_path, ids)
                write_part(scores_path, scores)
            bar.update(stop - start)


def _join(folder: Path, rows: I64, config: RetrieveConfig) -> None:
    for column, name, dtype in ((0, "ids", np.int64), (1, "scores", np.float32)):
        parts = (_parts(folder, start, config)[column] for start in _starts(rows, config))
        join_arrays(parts, folder / f"{name}.npy", dtype, (rows.size, config.depth))
    write_array(folder / "query_rows.npy", rows)

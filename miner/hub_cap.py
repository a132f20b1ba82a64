"""The cap on uses over a whole run, applied to the draws of all blocks; the most used documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..core.beir import Dataset
from ..core.candidates import PAD_ID
from ..core.encoder import F32
from ..core.ids import I64
from ..core.rng import U64, combine
from ..core.tables import TextTable
from .choose import Context
from .draws import read_draws, take_columns, take_rows, to_negatives
from .hubness import cap_uses, most_counted
from .negatives_file import FILE, write_rows
from .samplers import SamplerConfig
from .sound import check_sound
from .tally import Tally, tally_negatives

DRAWS = ".draws.npy"
TOP = 10


def cap_parts(
    stems: Sequence[Path],
    dataset: Dataset,
    context: Context,
    sampler: SamplerConfig,
    seed: int,
    generation: int,
    edges: F32,
) -> Tally:
    """Write the parquet parts of draws with spares, no document used over `max_uses` times.

    Counts what is written; the same bytes however the queries were cut into parts. With
    `drop_query` a query that the cap left short goes out afterwards, and the places it had under
    the cap stay empty. Memory: about 110 bytes for each draw and each spare, twice `sampler.total`
    for each query of the run.
    """
    if sampler.max_uses is None:
        raise ValueError("a cap without max_uses")
    parts = [read_draws(stem.with_suffix(DRAWS)) for stem in stems]
    rows = np.concatenate([part["query_rows"] for part in parts])
    capped = cap_uses(
        np.concatenate([part["ids"] for part in parts]),
        sampler.total,
        sampler.max_uses,
        _row_hashes(context, rows, np.concatenate([part["positive_rows"] for part in parts])),
        context.doc_ids_N,
        seed,
    )
    tally = Tally()
    ends = np.cumsum([part.size for part in parts])[:-1]
    for stem, part, columns in zip(stems, parts, np.split(capped.columns, ends), strict=True):
        sources = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))["sources"]
        left = take_columns(to_negatives(part, sources, generation), columns)
        if "drop_query" in sampler.on_short:
            left = take_rows(left, left.counts() == sampler.total)
        check_sound(left, context, dataset.queries, dataset.corpus, stem.parent / FILE)
        write_rows(stem.with_suffix(".parquet"), left, dataset.queries, dataset.corpus)
        tally.merge(tally_negatives(left, edges))
    tally.capped = Counter(dropped=capped.dropped, replaced=capped.replaced, missing=capped.missing)
    return tally


def _row_hashes(context: Context, query_rows: I64, positive_rows: I64) -> U64:
    """A hash of each row's ids: the query's, with the positive's where there is one."""
    hashes = context.query_ids_Q[query_rows]
    pairs = combine(hashes, context.doc_ids_N[np.maximum(positive_rows, 0)])
    return np.where(positive_rows == PAD_ID, hashes, pairs)


def most_used_documents(path: Path, corpus: TextTable, top: int = TOP) -> list[tuple[str, int]]:
    """Ids of the `top` most used documents of a negatives file and how often; ties by id.

    Memory: 8 bytes for each document of the corpus.
    """
    counts = np.zeros(len(corpus), dtype=np.int64)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["negative_ids"]):
            found = pc.value_counts(batch.column(0).flatten())
            rows = corpus.ids.find(found.field("values").to_pylist())
            counts[rows] += found.field("counts").to_numpy()
    rows, uses = most_counted(counts, corpus.ids.rank_N, top)
    return list(zip(corpus.id_strings(rows), uses.tolist(), strict=True))

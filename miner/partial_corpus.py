"""Corpus vectors by new weights, at the cost that `refresh.partial` allows; kept by key."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.digest import digest_array, digest_json
from ..core.embeddings import DEFAULT_LAYOUT, Embeddings, StoreLayout
from ..core.encoder import F32, Encoder
from ..core.encoders.build import embed_table
from ..core.errors import PyriteError
from ..core.ids import I64
from ..core.store import Manifest, discard, publish, read_array, scratch_folder
from ..core.tables import TextTable
from .partial import PartialReport, cheap_vectors
from .partial_config import PartialSection

logger = logging.getLogger(__name__)

SCHEMA = 1
KIND = "partial embeddings"
_FILE = "vectors.npy"


def partial_corpus(
    config: PartialSection,
    encoder: Encoder,
    table: TextTable,
    stale: Embeddings | None,
    queries_QD: F32,
    cache: Path,
    max_tokens: int,
    layout: StoreLayout = DEFAULT_LAYOUT,
    seed: int = 0,
    generation: int = 0,
) -> tuple[Embeddings, PartialReport | None]:
    """Vectors of every text of `table` for `encoder`, and the report of a partial refresh.

    `stale` are the same texts by earlier weights, full or partial; without them, with `kind: off`
    or where `min_overlap` is missed every text is encoded. `queries_QD` are the new vectors of
    the queries. Kept below `cache/embeddings` under a key of all inputs. Raises PyriteError if
    `stale` are other texts or have another dimension.
    """
    if config.kind == "off" or stale is None:
        return embed_table(encoder, table, "document", cache, max_tokens, None, layout), None
    if (len(stale), stale.dimension) != (len(table), encoder.dimension):
        raise PyriteError(
            f"{table.where}: the stale vectors are {len(stale)} of {stale.dimension} numbers,"
            f" expected {len(table)} of {encoder.dimension}; set refresh.partial.kind=off"
        )

    inputs: dict[str, Any] = {
        "schema": SCHEMA,
        "partial": config.model_dump(mode="json"),
        "encoder": encoder.fingerprint,
        "texts": table.digest,
        "stale": stale.identity,
        "queries": digest_array(queries_QD),
        "seed": seed,
        "generation": generation,
    }
    folder = cache / "embeddings" / digest_json(inputs)

    def encode(rows: I64) -> F32:
        found = embed_table(encoder, table, "document", cache, max_tokens, rows, layout)
        return found.take(np.arange(rows.size))

    def make(out_ND: F32) -> PartialReport:
        rank_N = table.ids.rank_N
        return cheap_vectors(stale, encode, queries_QD, rank_N, config, seed, generation, out_ND)[1]

    manifest = _kept(folder, (len(stale), stale.dimension), inputs, make)
    report = PartialReport(**manifest.data["report"])
    if report.full:
        logger.warning("%s", report.message)
        return embed_table(encoder, table, "document", cache, max_tokens, None, layout), report
    _say(report)
    vectors = read_array(folder / _FILE)
    content = digest_json(manifest.data["files"])
    return Embeddings((vectors,), max(len(vectors), 1), folder.name, content), report


def _kept(
    folder: Path,
    shape: tuple[int, int],
    inputs: dict[str, Any],
    make: Callable[[F32], PartialReport],
) -> Manifest:
    """The manifest of `folder`, which `make` fills with vectors if it is not whole yet."""
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.intact(folder):
        return manifest
    with scratch_folder(folder) as scratch:
        out = np.lib.format.open_memmap(scratch / _FILE, "w+", np.float32, shape)
        report = make(out)
        out.flush()
        with (scratch / _FILE).open("rb") as handle:
            os.fsync(handle.fileno())
        made = Manifest.write(scratch, kind=KIND, report=report.as_json(), **inputs)
        discard(folder)
        shutil.rmtree(folder, ignore_errors=True)
        publish(scratch, folder)
    return made


def _say(report: PartialReport) -> None:
    logger.info(
        "partial refresh (%s): %d of %d documents encoded, overlap@%d with a full one %s",
        report.kind,
        report.encoded,
        report.documents,
        report.depth,
        "unknown" if report.overlap is None else f"{report.overlap:.3f}",
    )

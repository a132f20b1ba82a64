"""The verb `mine`: dataset, embeddings, candidates, reasons, negatives."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ..core.config import dump_config
from ..core.dataset import text_hashes
from ..core.digest import digest_array, digest_json
from ..core.encoder import Encoder
from ..core.run import Prepared, RunConfig, build_encoder, prepare_mining
from ..core.store import Manifest, discard, remove_parts, write_bytes
from ..indexes.export import FILE as CANDIDATES
from ..indexes.export import export_candidates
from ..indexes.retrieve import RetrieveConfig, retrieve
from ..indexes.sources import SearchInputs
from .choose import Context
from .choose_all import Choice, choose_all
from .clusters import Clusters, open_clusters
from .filters import FilterConfig
from .near_rules import near_of
from .report import write_histogram
from .samplers import SamplerConfig
from .tally import Tally
from .two_conditions import Triangles, triangles_of

logger = logging.getLogger(__name__)

SCHEMA = 3


class MineConfig(RunConfig):
    """Everything that decides which negatives come out."""

    block_queries: int = Field(1024, ge=1, description="queries sampled at a time")
    retrieve: RetrieveConfig = RetrieveConfig()
    filters: FilterConfig = FilterConfig(percent=0.95)
    sampler: SamplerConfig = SamplerConfig()


@dataclass(frozen=True, slots=True)
class Mined:
    """A finished mining run: its folder and its counts."""

    folder: Path
    tally: Tally
    manifest: Manifest
    reused: bool


def mine(config: MineConfig, encoder: Encoder | None = None) -> Mined:
    """Mine hard negatives for the training queries; finished stages are kept, never repeated.

    Writes `negatives.parquet`, `reasons.npy`, `scores.png` and a manifest to
    `<runs_dir>/<name>/negatives`. Raises PyriteError on bad input, before anything is overwritten.
    """
    prepared = prepare_mining(config, encoder or build_encoder(config))
    retrieved = retrieve(SearchInputs.of(prepared), config.retrieve, config.cache, config.threads)
    if retrieved.reused:
        logger.info("candidates: read again, nothing was searched (%s)", retrieved.key[:12])
    folder = config.run_folder / "negatives"
    key = _negatives_key(config, prepared, retrieved.key)
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.data.get("key") == key and manifest.intact(folder):
        remove_parts(folder)
        return Mined(folder, Tally.from_json(manifest.data["counts"]), manifest, reused=True)
    context = context_of(config, prepared)
    discard(folder)
    choice = Choice(config.filters, config.sampler, config.seed, config.block_queries)
    tally, edges = choose_all(prepared, retrieved.candidates, context, choice, folder, key)
    title = f"{config.name}: {config.sampler.label} per query"
    write_histogram(folder / "scores.png", tally, edges, title)
    write_bytes(config.run_folder / "config.yaml", dump_config(config).encode())
    if config.retrieve.export:
        tables = (prepared.dataset.queries, prepared.dataset.corpus)
        export_candidates(retrieved.candidates, *tables, folder / CANDIDATES)
    manifest = Manifest.write(
        folder,
        schema=SCHEMA,
        kind="negatives",
        verb="mine",
        key=key,
        config=config.model_dump(mode="json"),
        inputs={"dataset": prepared.dataset.digest(), "candidates": retrieved.key},
        recall=retrieved.manifest.data["recall"],
        seed=config.seed,
        counts=tally.as_json(),
    )
    remove_parts(folder)
    return Mined(folder, tally, manifest, reused=False)


def _negatives_key(config: MineConfig, prepared: Prepared, candidates_key: str) -> str:
    qrels = prepared.qrels
    arrays = (qrels.indptr, qrels.docs, qrels.grades)
    clusters = _clusters(config, prepared)
    return digest_json(
        {
            "schema": SCHEMA,
            "candidates": candidates_key,
            "dataset": prepared.dataset.digest(),
            "qrels": [digest_array(array) for array in arrays],
            "min_grade": qrels.min_grade,
            "seed": config.seed,
            "filters": config.filters.model_dump(mode="json"),
            "clusters": clusters.key if clusters else None,
            "sampler": config.sampler.model_dump(mode="json"),
            "export": config.retrieve.export,
        }
    )


def context_of(config: MineConfig, prepared: Prepared) -> Context:
    """What choosing needs to know of a prepared dataset."""
    dataset = prepared.dataset
    return Context(
        prepared.qrels,
        text_hashes(dataset.queries, config.cache),
        text_hashes(dataset.corpus, config.cache),
        dataset.queries.id_hashes(),
        dataset.corpus.id_hashes(),
        dataset.corpus.ids.rank_N,
        clusters=_clusters(config, prepared),
        triangles=_triangles(config, prepared),
        near=near_of(config.filters, prepared, config.seed),
    )


def _triangles(config: MineConfig, prepared: Prepared) -> Triangles | None:
    if not config.filters.two_conditions:
        return None
    return triangles_of(prepared, config.filters.positive_score)


def _clusters(config: MineConfig, prepared: Prepared) -> Clusters | None:
    if config.filters.max_per_cluster is None:
        return None
    rank = prepared.dataset.corpus.ids.rank_N
    return open_clusters(prepared.corpus, rank, config.filters.clusters, config.seed, config.cache)

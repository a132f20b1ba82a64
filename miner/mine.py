"""The verb `mine`: dataset, embeddings, candidates, reasons, negatives."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from ..core.candidates import Candidates
from ..core.config import dump_config
from ..core.dataset import text_hashes
from ..core.digest import digest_array, digest_json
from ..core.encoder import Encoder
from ..core.engine.config import anywhere
from ..core.run import Prepared, RunConfig, build_encoder, check_folders, prepare_mining
from ..core.store import Manifest, read_array, remove_parts, write_bytes
from ..core.tables import Qrels
from ..core.used import Rules, Used
from ..indexes.export import FILE as CANDIDATES
from ..indexes.export import export_candidates
from ..indexes.retrieve import RetrieveConfig, retrieve
from ..indexes.sources import SearchInputs
from .carried_clusters import Carried, first_state, keep_state
from .choose import Context
from .choose_all import REASONS, choose_all
from .choose_block import Choice
from .clusters import Clusters, open_clusters
from .denoise_checks import (
    MISSING_LABELS,
    TEACHER,
    Checks,
    open_checks,
    write_missing_labels,
    write_teacher,
)
from .equal_queries import share_positives
from .filters import DEFAULT_PERCENT, FilterConfig, ceilings_line
from .near_rules import near_of
from .online_clusters import SCHEMA as CLUSTERS
from .report import write_histogram
from .samplers import SamplerConfig, check_hard_rank
from .tally import Tally
from .two_conditions import Triangles, triangles_of
from .vectors import Vectors

logger = logging.getLogger(__name__)

SCHEMA = 5
BY_CLUSTER = (
    *("filters.max_per_cluster", "filters.cluster_false_negatives", "sampler", "train.loss.name"),
    "train.datasets",
)
NO_CLUSTERS = (
    "set filters.max_per_cluster, filters.cluster_false_negatives or sampler.cluster",
    "where no negatives are chosen by cluster",
)


class MineConfig(RunConfig):
    """Everything that decides which negatives come out."""

    block_queries: int = Field(1024, ge=1, description="queries sampled at a time")
    retrieve: RetrieveConfig = RetrieveConfig()
    filters: FilterConfig = FilterConfig(percent=DEFAULT_PERCENT)
    sampler: SamplerConfig = SamplerConfig()

    USED: ClassVar[Rules] = (
        Used(("filters.clusters",), BY_CLUSTER, lambda c: c.reads_clusters, *NO_CLUSTERS),
        Used(("filters.cluster_device",), BY_CLUSTER, lambda c: c.trains_clusters, *NO_CLUSTERS),
    )

    @model_validator(mode="after")
    def _second_cluster(self) -> Self:
        if self.sampler.needs_clusters and self.filters.clusters < 2:
            raise ValueError(
                f"sampler.cluster=second_nearest with filters.clusters={self.filters.clusters}:"
                " there is no second cluster; set filters.clusters to at least 2"
            )
        return self

    @property
    def needs_clusters(self) -> bool:
        """Whether a rule or a sampler asks for the clusters of the corpus."""
        capped = self.filters.max_per_cluster is not None
        return capped or self.filters.cluster_false_negatives or self.sampler.needs_clusters

    @property
    def trains_clusters(self) -> bool:
        """Whether anything that the configuration names asks for clusters while mining."""
        return self.needs_clusters

    @property
    def reads_clusters(self) -> bool:
        """Whether anything that the configuration names asks for `filters.clusters` clusters."""
        return self.trains_clusters


@dataclass(frozen=True, slots=True)
class Mined:
    """A finished mining run: its folder and its counts."""

    folder: Path
    tally: Tally
    manifest: Manifest
    reused: bool


def mine(
    config: MineConfig,
    encoder: Encoder | None = None,
    prepared: Prepared | None = None,
    folder: Path | None = None,
    carried: Carried | None = None,
) -> Mined:
    """Mine hard negatives for the training queries; finished stages are kept, never repeated.

    Writes `negatives.parquet`, `reasons.npy`, `scores.png` and a manifest to `folder`, by default
    `<runs_dir>/<name>/negatives`, which gets a card too. `prepared` are vectors that are there
    already, of all training queries or some. `carried` are clusters in the place of k-means; the
    state of either is kept in `clusters` below the folder. Raises PyriteError on bad input, before
    anything is overwritten.
    """
    check_folders(config)
    # a refresh, which has folders of its own, need not say it again
    if folder is None:
        logger.info("%s", ceilings_line(config.filters))
    if prepared is None:
        prepared = prepare_mining(config, encoder or build_encoder(config))
    home = config.run_folder if folder is None else folder
    folder = folder or home / "negatives"
    inputs = search_inputs(config, prepared, prepared.qrels)
    retrieved = retrieve(inputs, config.retrieve, config.cache, config.threads)
    if retrieved.reused:
        logger.info("candidates: read again, nothing was searched (%s)", retrieved.key[:12])
    checks = open_checks(config.filters.denoise, prepared, retrieved, config.cache)
    clusters = carried.clusters if carried else _clusters(config, prepared)
    key = _negatives_key(config, prepared, retrieved.key, checks, clusters)
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.data.get("key") == key and manifest.intact(folder):
        remove_parts(folder)
        return Mined(folder, Tally.from_json(manifest.data["counts"]), manifest, reused=True)
    context = context_of(config, prepared, checks, clusters)
    choice = Choice(config.filters, config.sampler, config.seed, config.block_queries)
    tally, edges = choose_all(prepared, retrieved.candidates, context, choice, folder, key)
    title = f"{config.name}: {config.sampler.label} per query"
    write_histogram(folder / "scores.png", tally, edges, title)
    _write_checks(checks, choice, prepared, retrieved.candidates, folder)
    begun = None if clusters is None else first_state(clusters, prepared.corpus)
    keep_state(carried.state if carried else begun, folder)
    write_bytes(home / "config.yaml", dump_config(config).encode())
    if config.retrieve.export:
        tables = (prepared.dataset.queries, prepared.dataset.corpus)
        export_candidates(retrieved.candidates, *tables, folder / CANDIDATES)
    facts = dict(
        key=key,
        config=anywhere(config).model_dump(mode="json"),
        inputs={"dataset": prepared.dataset.digest(), "candidates": retrieved.key},
        recall=retrieved.manifest.data["recall"],
        denoise=checks.as_json() if checks else None,
        seed=config.seed,
        counts=tally.as_json(),
        # of the histograms' bins, all equally wide
        score_range=[float(edges[0]), float(edges[-1])],
    )
    manifest = _finish(folder, facts, card=home == config.run_folder)
    remove_parts(folder)
    return Mined(folder, tally, manifest, reused=False)


def _finish(folder: Path, facts: dict[str, Any], card: bool) -> Manifest:
    """Write the manifest, after the card that it records; generations of a refresh have none."""
    if card:
        # the checks of an audit load FAISS, for which no mistake in a configuration should wait
        from .convert.card import CARD, card_of_run

        write_bytes(folder / CARD, card_of_run(folder, facts).encode())
    return Manifest.write(folder, schema=SCHEMA, kind="negatives", verb="mine", **facts)


def _write_checks(
    checks: Checks | None,
    choice: Choice,
    prepared: Prepared,
    candidates: Candidates,
    folder: Path,
) -> None:
    """What the cross-encoder found besides reasons; files of an earlier run without it go."""
    for name in (MISSING_LABELS, TEACHER):
        (folder / name).unlink(missing_ok=True)
    if checks is None:
        return
    write_teacher(checks, prepared, candidates, folder / TEACHER)
    if not choice.only_random:
        reasons = read_array(folder / REASONS)
        write_missing_labels(checks, prepared, candidates, reasons, folder / MISSING_LABELS)


def _negatives_key(
    config: MineConfig,
    prepared: Prepared,
    candidates_key: str,
    checks: Checks | None,
    clusters: Clusters | None,
) -> str:
    qrels = _shared_qrels(config, prepared)
    arrays = (qrels.indptr, qrels.docs, qrels.grades)
    return digest_json(
        {
            "schema": SCHEMA,
            "candidates": candidates_key,
            "dataset": prepared.dataset.digest(),
            "qrels": [digest_array(array) for array in arrays],
            "min_grade": qrels.min_grade,
            "seed": config.seed,
            "filters": config.filters.model_dump(mode="json"),
            "clusters": None if clusters is None else [CLUSTERS, clusters.key],
            "denoise": checks.as_json() if checks else None,
            "sampler": config.sampler.model_dump(mode="json"),
            "export": config.retrieve.export,
        }
    )


def search_inputs(config: MineConfig, prepared: Prepared, qrels: Qrels) -> SearchInputs:
    """What mining searches with; a query's positive is the first by id of those in `qrels`.

    Raises PyriteError if a rank window of the sampler lies outside what is retrieved.
    """
    corpus = prepared.dataset.corpus
    for part in config.sampler.parts:
        if part.name == "scincl":
            check_hard_rank(part, len(corpus), config.retrieve.depth)
    positives = qrels.first_positives(prepared.queries.rows, corpus.ids.rank_N)
    return SearchInputs.of(prepared, positives)


def context_of(
    config: MineConfig,
    prepared: Prepared,
    checks: Checks | None = None,
    clusters: Clusters | None = None,
) -> Context:
    """What choosing needs to know of a prepared dataset and of its candidates' `checks`.

    `clusters` are those to use in the place of k-means.
    """
    dataset = prepared.dataset
    return Context(
        _shared_qrels(config, prepared),
        text_hashes(dataset.queries, config.cache),
        text_hashes(dataset.corpus, config.cache),
        dataset.queries.id_hashes(),
        dataset.corpus.id_hashes(),
        dataset.corpus.ids.rank_N,
        clusters=_clusters(config, prepared) if clusters is None else clusters,
        triangles=_triangles(config, prepared),
        near=near_of(config.filters, prepared, config.seed),
        checks=checks,
        vectors=Vectors.of(prepared),
    )


def _shared_qrels(config: MineConfig, prepared: Prepared) -> Qrels:
    return share_positives(prepared.qrels, text_hashes(prepared.dataset.queries, config.cache))


def _triangles(config: MineConfig, prepared: Prepared) -> Triangles | None:
    if not config.filters.two_conditions:
        return None
    return triangles_of(prepared, config.filters.positive_score)


def _clusters(config: MineConfig, prepared: Prepared) -> Clusters | None:
    if not config.needs_clusters:
        return None
    filters = config.filters
    rank = prepared.dataset.corpus.ids.rank_N
    settings = (filters.clusters, config.seed, config.cache)
    return open_clusters(prepared.corpus, rank, *settings, device=filters.cluster_device)

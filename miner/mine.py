"""The verb `mine`: dataset, embeddings, candidates, reasons, negatives."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pydantic import Field

from ..core.candidates import Candidates
from ..core.config import dump_config
from ..core.dataset import text_hashes
from ..core.digest import digest_array, digest_json
from ..core.encoder import F32, Encoder
from ..core.ids import I64
from ..core.progress import progress
from ..core.run import Prepared, RunConfig, build_encoder, prepare
from ..core.store import (
    Manifest,
    atomic_write,
    discard,
    join_arrays,
    part_done,
    remove_parts,
    seal_part,
    write_bytes,
    write_json,
    write_part,
)
from ..indexes.retrieve import RetrieveConfig, retrieve
from ..indexes.topk import exact_scores
from .choose import Context, choose, reasons_of
from .filters import FilterConfig, positive_scores
from .negatives_file import FILE, join_parts, to_table
from .random_source import random_candidates
from .report import write_histogram
from .samplers import SamplerConfig
from .tally import Tally, score_edges, tally_block

logger = logging.getLogger(__name__)

SCHEMA = 1
_RANDOM_SPARE = 64


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
    prepared = prepare(config, encoder or build_encoder(config), config.dataset.train_split)
    candidates, key = retrieve(
        prepared.queries,
        prepared.corpus,
        prepared.dataset.corpus.ids.rank_N,
        config.retrieve,
        config.cache,
        config.threads,
    )
    return _choose_all(config, prepared, candidates, key)


def _choose_all(
    config: MineConfig, prepared: Prepared, candidates: Candidates, candidates_key: str
) -> Mined:
    folder = config.run_folder / "negatives"
    key = _negatives_key(config, prepared, candidates_key)
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.data.get("key") == key and manifest.intact(folder):
        tally = Tally.from_json(manifest.data["counts"])
        return Mined(folder, tally, manifest, reused=True)
    discard(folder)
    edges = score_edges(block.scores for _, block in _blocks(candidates, config))
    stems = _write_parts(config, prepared, candidates, folder, key, edges)
    tally = Tally()
    for stem in stems:
        tally.merge(Tally.from_json(json.loads(Path(f"{stem}.json").read_text("utf-8"))))
    rows = join_parts([Path(f"{stem}.parquet") for stem in stems], folder / FILE)
    join_arrays(
        (Path(f"{stem}.npy") for stem in stems),
        folder / "reasons.npy",
        np.uint16,
        (
            rows,
            candidates.ids.shape[1]
            if config.sampler.name != "random"
            else _random_depth(config, prepared),
        ),
    )
    title = f"{config.name}: {config.sampler.name}, {config.sampler.n} per query"
    write_histogram(folder / "scores.png", tally, edges, title)
    write_bytes(config.run_folder / "config.yaml", dump_config(config).encode())
    remove_parts(folder)
    manifest = Manifest.write(
        folder,
        schema=SCHEMA,
        kind="negatives",
        verb="mine",
        key=key,
        config=config.model_dump(mode="json"),
        candidates=candidates_key,
        seed=config.seed,
        counts=tally.as_json(),
    )
    return Mined(folder, tally, manifest, reused=False)


def _negatives_key(config: MineConfig, prepared: Prepared, candidates_key: str) -> str:
    qrels = prepared.qrels
    return digest_json(
        {
            "schema": SCHEMA,
            "candidates": candidates_key,
            "dataset": prepared.dataset.digest(),
            "qrels": [
                digest_array(qrels.indptr),
                digest_array(qrels.docs),
                digest_array(qrels.grades),
            ],
            "min_grade": qrels.min_grade,
            "seed": config.seed,
            "filters": config.filters.model_dump(mode="json"),
            "sampler": config.sampler.model_dump(mode="json"),
        }
    )


def _blocks(candidates: Candidates, config: MineConfig) -> Iterator[tuple[int, Candidates]]:
    total = candidates.query_rows.size
    for start in range(0, total, config.block_queries):
        yield start, candidates.block(start, min(start + config.block_queries, total))


def _random_depth(config: MineConfig, prepared: Prepared) -> int:
    most = int(np.diff(prepared.qrels.indptr).max(initial=0))
    return min(len(prepared.corpus), config.sampler.n + most + _RANDOM_SPARE)


def _context(config: MineConfig, prepared: Prepared) -> Context:
    dataset = prepared.dataset
    return Context(
        prepared.qrels,
        text_hashes(dataset.queries, config.cache),
        text_hashes(dataset.corpus, config.cache),
        dataset.queries.id_hashes(),
        dataset.corpus.id_hashes(),
        dataset.corpus.ids.rank_N,
    )


def _write_parts(
    config: MineConfig,
    prepared: Prepared,
    candidates: Candidates,
    folder: Path,
    key: str,
    edges: F32,
) -> list[Path]:
    context = _context(config, prepared)
    stems: list[Path] = []
    with progress("sample", total=candidates.query_rows.size, unit="queries") as bar:
        for start, block in _blocks(candidates, config):
            stem = folder / f"part-{key[:12]}-{config.block_queries}-{start:09d}"
            stems.append(stem)
            if not part_done(Path(f"{stem}.json")):
                _write_part(config, prepared, context, block, start, stem, edges)
            bar.update(block.query_rows.size)
    return stems


def _write_part(
    config: MineConfig,
    prepared: Prepared,
    context: Context,
    block: Candidates,
    start: int,
    stem: Path,
    edges: F32,
) -> None:
    vectors = prepared.queries.embeddings.take(np.arange(start, start + block.query_rows.size))
    pair_scores, pos_scores = _positive_scores(prepared, block.query_rows, vectors, config.filters)
    if config.sampler.name == "random":
        block = random_candidates(
            block.query_rows,
            context.query_ids_Q[block.query_rows],
            vectors,
            prepared.corpus,
            context.rank_N,
            _random_depth(config, prepared),
            config.seed,
        )
    reasons = reasons_of(block, pos_scores, context, config.filters)
    negatives = choose(block, reasons, pos_scores, context, config.sampler, config.seed)
    dataset = prepared.dataset
    with atomic_write(Path(f"{stem}.parquet")) as handle:
        pq.write_table(to_table(negatives, dataset.queries, dataset.corpus), handle)
    write_part(Path(f"{stem}.npy"), reasons)
    write_json(
        Path(f"{stem}.json"), tally_block(block, reasons, negatives, pair_scores, edges).as_json()
    )
    # sealed last: the JSON's seal stands for the whole part
    seal_part(Path(f"{stem}.json"))


def _positive_scores(
    prepared: Prepared, query_rows: I64, vectors: F32, filters: FilterConfig
) -> tuple[F32, F32]:
    positives = [prepared.qrels.positives(int(row)) for row in query_rows]
    owner = np.repeat(np.arange(query_rows.size), [p.size for p in positives])
    docs = np.concatenate(positives)
    pair_scores = exact_scores(vectors[owner], prepared.corpus, docs[:, None])[:, 0]
    how = filters.positive_score
    return pair_scores, positive_scores(pair_scores, owner, query_rows.size, how)

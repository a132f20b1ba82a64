"""Choosing for all queries, block by block; a killed run goes on at the block it was in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.candidates import Candidates
from ..core.encoder import F32
from ..core.ids import I64
from ..core.progress import progress
from ..core.run import Prepared
from ..core.store import discard, join_arrays, part_done, seal_part, write_json, write_part
from .calibrate import fit_calibration
from .choose import Context
from .draws import write_draws
from .filters import FilterConfig
from .hub_cap import DRAWS, cap_parts, most_used_documents
from .mix import Pool, choose_mix
from .negatives_file import FILE, join_parts, write_rows
from .positives import Positives, score_positives
from .random_source import random_candidates
from .samplers import SamplerConfig
from .sound import check_sound
from .tally import Tally, score_edges, tally_candidates, tally_negatives

REASONS = "reasons.npy"
_RANDOM_SPARE = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings that decide which candidates become negatives."""

    filters: FilterConfig
    sampler: SamplerConfig
    seed: int
    block_queries: int

    @property
    def only_random(self) -> bool:
        """Whether what was retrieved plays no part."""
        alone = all(p.name == "random" and not p.outside for p in self.sampler.parts)
        return alone and "relax" not in self.sampler.on_short


def choose_all(
    prepared: Prepared,
    candidates: Candidates,
    context: Context,
    choice: Choice,
    folder: Path,
    key: str,
) -> tuple[Tally, F32]:
    """Write `negatives.parquet` and `reasons.npy` to `folder`; returns counts and score bins.

    What an earlier run left there stays whole until every block is chosen.

    The bytes depend on the candidates and the choice alone, not on the block size. With `max_uses`
    the parts hold draws and as many spares, and the cap is applied once, to those of all queries.
    """
    positives = score_positives(prepared, choice.filters.positive_score)
    calibration = fit_calibration(choice.filters.calibrate, positives.pairs, candidates.scores)
    context = replace(context, calibration=calibration)
    edges = score_edges([positives.pairs, *(b.scores for _, b in _blocks(candidates, choice))])
    stems: list[Path] = []
    with progress("sample", total=candidates.query_rows.size, unit="queries") as bar:
        for start, block in _blocks(candidates, choice):
            stem = folder / f"part-{key[:12]}-{choice.block_queries}-{start:09d}"
            stems.append(stem)
            if not part_done(stem.with_suffix(".json")):
                _choose_block(prepared, positives, context, choice, block, start, stem, edges)
            bar.update(block.query_rows.size)
    tally = _counted(stems)
    if choice.sampler.max_uses is not None:
        rest = (choice.sampler, choice.seed, candidates.generation, edges)
        tally.merge(cap_parts(stems, prepared.dataset, context, *rest))
    tally.dropped = tally.queries - sum(tally.negatives.values())
    # every block is chosen and sound: only now do earlier negatives go
    discard(folder)
    _join(stems, folder, candidates, positives, prepared, choice)
    tally.most_used = most_used_documents(folder / FILE, prepared.dataset.corpus)
    return tally, edges


def _counted(stems: list[Path]) -> Tally:
    tally = Tally()
    for stem in stems:
        text = stem.with_suffix(".json").read_text(encoding="utf-8")
        tally.merge(Tally.from_json(json.loads(text)))
    return tally


def _join(
    stems: list[Path],
    folder: Path,
    candidates: Candidates,
    positives: Positives,
    prepared: Prepared,
    choice: Choice,
) -> None:
    join_parts([stem.with_suffix(".parquet") for stem in stems], folder / FILE)
    random = choice.only_random
    depth = _random_depth(prepared, choice) if random else candidates.ids.shape[1]
    arrays = (stem.with_suffix(".npy") for stem in stems)
    rows = positives.row_count(candidates.query_rows.size)
    join_arrays(arrays, folder / REASONS, np.uint16, (rows, depth))


def _blocks(candidates: Candidates, choice: Choice) -> Iterator[tuple[int, Candidates]]:
    total = candidates.query_rows.size
    for start in range(0, total, choice.block_queries):
        yield start, candidates.block(start, min(start + choice.block_queries, total))


def _random_depth(prepared: Prepared, choice: Choice, listed: int = 0) -> int:
    most = int(np.diff(prepared.qrels.indptr).max(initial=0))
    wanted = choice.sampler.total * (2 if choice.sampler.max_uses is not None else 1)
    return min(len(prepared.corpus), wanted + most + _RANDOM_SPARE + listed)


def random_pool(
    prepared: Prepared,
    context: Context,
    choice: Choice,
    block: Candidates,
    pos_scores_Q: F32,
    places_Q: I64,
) -> Pool | None:
    """Random documents for the queries of a block, which stand at `places_Q` among the mined.

    None where the sampler draws nothing at random.
    """
    if not choice.sampler.needs_random:
        return None
    # enough are left even where all that was retrieved is drawn
    listed = block.ids.shape[1] if any(p.outside for p in choice.sampler.parts) else 0
    found = random_candidates(
        block.query_rows,
        context.query_ids_Q[block.query_rows],
        prepared.queries.embeddings.take(places_Q),
        prepared.corpus,
        context.rank_N,
        _random_depth(prepared, choice, listed),
        choice.seed,
    )
    # no cross-encoder reads them: a random document is irrelevant unless it is known not to be
    known = {"allow_unchecked": True, "depth": found.ids.shape[1]}
    denoise = choice.filters.denoise.model_copy(update=known)
    filters = choice.filters.model_copy(update={"denoise": denoise})
    found = replace(found, positive_rows=block.positive_rows)
    return Pool.of(found, pos_scores_Q, context, filters)


def _choose_block(
    prepared: Prepared,
    positives: Positives,
    context: Context,
    choice: Choice,
    block: Candidates,
    start: int,
    stem: Path,
    edges: F32,
) -> None:
    stop = start + block.query_rows.size
    block, pos_scores, places = positives.rows(block, start)
    random = random_pool(prepared, context, choice, block, pos_scores, places)
    if random is not None and choice.only_random:
        retrieved = random
    else:
        retrieved = Pool.of(block, pos_scores, context, choice.filters)
    sampler, cap = choice.sampler, choice.sampler.max_uses is not None
    negatives = choose_mix(retrieved, random, pos_scores, context, sampler, choice.seed, cap)
    write_part(stem.with_suffix(".npy"), retrieved.reasons)
    pairs = positives.pairs[positives.starts[start] : positives.starts[stop]]
    tally = tally_candidates(retrieved.candidates, retrieved.reasons, pairs, edges)
    if context.checks is not None:
        tally.denoise = context.checks.tally(retrieved.candidates, retrieved.reasons)
    if cap:
        write_draws(stem.with_suffix(DRAWS), negatives)
    else:
        dataset = prepared.dataset
        check_sound(negatives, context, dataset.queries, dataset.corpus, stem.parent / FILE)
        write_rows(stem.with_suffix(".parquet"), negatives, dataset.queries, dataset.corpus)
        tally.merge(tally_negatives(negatives, edges))
    write_json(stem.with_suffix(".json"), {**tally.as_json(), "sources": negatives.sources})
    # sealed last: the JSON's seal stands for the whole part
    seal_part(stem.with_suffix(".json"))

"""Choosing for all queries, block by block; a killed run goes on at the block it was in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.beir import Dataset
from ..core.candidates import Candidates
from ..core.encoder import F32
from ..core.progress import progress
from ..core.run import Prepared
from ..core.store import discard, join_arrays, part_done, seal_part, write_json, write_part
from .calibrate import fit_calibration
from .choose import Context
from .choose_block import Block, Choice, Chooser, Chosen, Spread, random_depth
from .draws import write_draws
from .hub_cap import DRAWS, cap_parts, most_used_documents
from .negatives_file import FILE, join_parts, write_rows
from .positives import Positives, score_positives
from .sound import check_sound
from .spread import spread_of
from .tally import Tally, score_edges

REASONS = "reasons.npy"


def choose_all(
    prepared: Prepared,
    candidates: Candidates,
    context: Context,
    choice: Choice,
    folder: Path,
    key: str,
) -> tuple[Tally, F32]:
    """Write `negatives.parquet` and `reasons.npy` to `folder`; returns counts and score bins.

    What an earlier run left there stays whole until every block is chosen. Workers of
    `prepared.session` choose where there are any; files are written here alone.

    The bytes depend on the candidates and the choice alone, not on the block size. With `max_uses`
    the parts hold draws and as many spares, and the cap is applied once, to those of all queries.
    """
    positives = score_positives(prepared, choice.filters.positive_score)
    calibration = fit_calibration(choice.filters.calibrate, positives.pairs, candidates.scores)
    context = replace(context, calibration=calibration)
    edges = score_edges([positives.pairs, *(b.scores for _, b in _blocks(candidates, choice))])
    chooser = Chooser(context, choice, prepared.qrels, edges)
    parts = [
        _Part(start, folder / f"part-{key[:12]}-{choice.block_queries}-{start:09d}")
        for start in range(0, candidates.query_rows.size, choice.block_queries)
    ]
    spread = spread_of(prepared.session)
    _choose_parts(parts, chooser, candidates, positives, prepared.dataset, spread)
    stems = [part.stem for part in parts]
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


@dataclass(frozen=True, slots=True)
class _Part:
    """A block on disk: the place of its first query, and its files' common name."""

    start: int
    stem: Path

    @property
    def done(self) -> bool:
        """Whether an earlier run has written it."""
        return part_done(self.stem.with_suffix(".json"))

    def write(self, chosen: Chosen, chooser: Chooser, dataset: Dataset) -> None:
        """Keep what was chosen; raises PyriteError if an audit would call it an error."""
        negatives, tally = chosen.negatives, chosen.tally
        write_part(self.stem.with_suffix(".npy"), chosen.reasons)
        if chooser.choice.capped:
            write_draws(self.stem.with_suffix(DRAWS), negatives)
        else:
            tables = (dataset.queries, dataset.corpus)
            check_sound(negatives, chooser.context, *tables, self.stem.parent / FILE)
            write_rows(self.stem.with_suffix(".parquet"), negatives, *tables)
        path = self.stem.with_suffix(".json")
        write_json(path, {**tally.as_json(), "sources": negatives.sources})
        # sealed last: the JSON's seal stands for the whole part
        seal_part(path)


def _choose_parts(
    parts: list[_Part],
    chooser: Chooser,
    candidates: Candidates,
    positives: Positives,
    dataset: Dataset,
    spread: Spread,
) -> None:
    """Choose and write what no earlier run has written."""
    total, step = candidates.query_rows.size, chooser.choice.block_queries
    left = [part for part in parts if not part.done]
    sizes = [min(step, total - part.start) for part in left]

    def block(part: _Part) -> Block:
        stop = min(part.start + step, total)
        return Block.of(candidates.block(part.start, stop), positives, part.start)

    def most_rows() -> int:
        """Rows of the longest block: with `each` a query may have many."""
        ends = zip(left, sizes, strict=True)
        return max(positives.row_count_of(p.start, p.start + size) for p, size in ends)

    if not left:
        return
    bound = chooser.result_bytes(most_rows(), candidates.ids.shape[1], len(dataset.corpus))
    with progress("sample", total, "queries", initial=total - sum(sizes)) as bar:
        for at, chosen in spread(chooser, map(block, left), len(left), bound):
            left[at].write(chosen, chooser, dataset)
            bar.update(sizes[at])


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
    depth = (
        random_depth(len(prepared.corpus), prepared.qrels, choice)
        if random
        else candidates.ids.shape[1]
    )
    arrays = (stem.with_suffix(".npy") for stem in stems)
    rows = positives.row_count(candidates.query_rows.size)
    join_arrays(arrays, folder / REASONS, np.uint16, (rows, depth))


def _blocks(candidates: Candidates, choice: Choice) -> Iterator[tuple[int, Candidates]]:
    total = candidates.query_rows.size
    for start in range(0, total, choice.block_queries):
        yield start, candidates.block(start, min(start + choice.block_queries, total))

"""Candidates: what the sources find for each query, joined once and kept by content key."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from ..core.candidates import Candidates
from ..core.config import Section
from ..core.digest import digest_array, digest_json
from ..core.encoder import F32
from ..core.encoders.parallel import in_order
from ..core.errors import PyriteError
from ..core.progress import progress
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
from ..core.used import Used, only
from .fuse import Fused, Fusion, Ranked, fuse
from .sources import SearchInputs, Source, SourceConfig, open_source, searches_at_once
from .topk import exact_scores

logger = logging.getLogger(__name__)

SCHEMA = 2
_COLUMNS = {"ids": np.int64, "scores": np.float32, "source": np.uint8, "source_rank": np.int32}


class RetrieveConfig(Section):
    """Where candidates come from, and how many."""

    depth: int = Field(200, ge=1, description="candidates per query, K")
    block_queries: int = Field(1024, ge=1, description="queries searched at a time")
    sources: tuple[SourceConfig, ...] = Field((SourceConfig(),), min_length=1, max_length=255)
    fuse: Fusion = Field("union", description="how the lists of several sources are joined")
    rrf_k: int = Field(60, ge=0, description="rrf: the constant added to each rank")
    export: bool = Field(False, description="mine: also write candidates.parquet")

    USED = (
        Used(
            ("fuse", "rrf_k", "sources.weight"),
            ("sources",),
            lambda config: len(config.sources) > 1,
            "list several sources",
            "with one source",
        ),
        only("rrf_k", "fuse", "rrf"),
        only("sources.weight", "fuse", "rrf", "score"),
    )

    @field_validator("sources")
    @classmethod
    def _distinct(cls, sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
        labels = [s.label for s in sources]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are called {twice!r}; give one of them a name")
        return sources


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Mapped candidates, their key, and what the manifest says of how they were found."""

    candidates: Candidates
    key: str
    manifest: Manifest
    reused: bool


def retrieve(
    inputs: SearchInputs,
    config: RetrieveConfig,
    cache: Path,
    threads: int,
    section: str = "retrieve.sources[{}]",
) -> Retrieved:
    """Search every query, block by block; a killed run goes on at the block it was in.

    The key covers the sources' content, the queries, the tie order, the fusion and the depth.
    Block size, threads and, for exact search, backend and device are not part of it: they change
    nothing. `section` is what errors call a source, by its number. Raises PyriteError if the depth
    is over the corpus size, and what the sources raise.
    """
    if config.depth > len(inputs.corpus):
        raise PyriteError(
            f"retrieve.depth={config.depth} but the corpus has {len(inputs.corpus)} documents; set"
            f" retrieve.depth to at most {len(inputs.corpus)}"
        )
    opened = [
        open_source(s, inputs, config.depth, cache, threads, section.format(at))
        for at, s in enumerate(config.sources)
    ]
    sources = [source for source, _ in opened]
    key = _key(inputs, config, sources)
    folder = cache / "candidates" / key
    manifest = Manifest.read(folder)
    if manifest is not None and not manifest.intact(folder):
        logger.warning("%s does not match its manifest: searching again", folder)
        discard(folder)
        manifest = None
    reused = manifest is not None
    if manifest is None:
        _Search(inputs, config, sources, folder).run()
        recall = {s.label: asdict(r) for s, (_, r) in zip(config.sources, opened, strict=True) if r}
        manifest = Manifest.write(
            folder,
            schema=SCHEMA,
            kind="candidates",
            sources=[s.label for s in config.sources],
            counts={"queries": int(inputs.rows.size), "depth": config.depth},
            recall=recall,
        )
    remove_parts(folder)
    return Retrieved(open_candidates(folder, manifest), key, manifest, reused)


def _key(inputs: SearchInputs, config: RetrieveConfig, sources: list[Source]) -> str:
    alone = len(sources) == 1
    return digest_json(
        {
            "schema": SCHEMA,
            "sources": [
                # a quota over the depth counts: the fusion chooses from more documents
                [source.key, s.label, min(s.quota or config.depth, len(inputs.corpus)), s.weight]
                for source, s in zip(sources, config.sources, strict=True)
            ],
            "fuse": None if alone else [config.fuse, config.rrf_k],
            "vectors": [
                v.identity if v else None for v in (inputs.query_vectors, inputs.corpus_vectors)
            ],
            "rows": digest_array(inputs.rows),
            "rank": digest_array(inputs.corpus.ids.rank_N),
            "depth": config.depth,
        }
    )


def open_candidates(folder: Path, manifest: Manifest) -> Candidates:
    """Map the columns of a finished retrieval."""
    ids, scores, source, source_rank = (read_array(folder / f"{name}.npy") for name in _COLUMNS)
    rows = np.asarray(read_array(folder / "query_rows.npy"))
    sources = tuple(manifest.data["sources"])
    return Candidates(rows, ids, scores, source, source_rank, sources)


def only_similarity(config: RetrieveConfig) -> bool:
    """Whether the one source's scores and order are the queries' similarity."""
    sources = config.sources
    return len(sources) == 1 and sources[0].kind == "dense" and sources[0].query == "query"


def search_memory(
    config: RetrieveConfig, batch: int, quotas: Sequence[int], found: Sequence[int]
) -> int:
    """Bound of one block's search and fusion, in bytes; `found` are the sources' own bounds."""
    fusion = 0 if only_similarity(config) else 100 * batch * sum(quotas)
    return max(found) + 40 * batch * config.depth + fusion


class _Search:
    """One retrieval on its way to disk."""

    def __init__(
        self, inputs: SearchInputs, config: RetrieveConfig, sources: list[Source], folder: Path
    ) -> None:
        self.inputs = inputs
        self.config = config
        self.sources = sources
        self.folder = folder
        self.quotas = [min(s.quota or config.depth, len(inputs.corpus)) for s in config.sources]

    def run(self) -> None:
        """Write all parts, then the joined columns."""
        total = self.inputs.rows.size
        step = self.config.block_queries
        logger.info(
            "search: %d queries, %d documents, k=%d, at most %.0f MiB beside the mapped files",
            total,
            len(self.inputs.corpus),
            self.config.depth,
            self.memory_bytes() / 2**20,
        )
        todo = [start for start in range(0, total, step) if not part_done(self._part(start))]
        before = total - sum(min(step, total - start) for start in todo)
        with progress("search", total=total, unit="queries", initial=before) as bar:
            for start, records in zip(todo, self._searched(todo), strict=True):
                write_part(self._part(start), records)
                bar.update(len(records))
        shape = (total, self.config.depth)
        for name, dtype in _COLUMNS.items():
            parts = (self._part(start) for start in range(0, total, step))
            join_arrays(parts, self.folder / f"{name}.npy", dtype, shape, field=name)
        write_array(self.folder / "query_rows.npy", self.inputs.rows)

    def _searched(self, todo: list[int]) -> Iterator[np.ndarray]:
        """The records of the blocks that begin at `todo`, in that order."""
        at_once, total = searches_at_once(self.sources), self.inputs.rows.size

        def records(start: int) -> np.ndarray:
            return self._records(start, min(start + self.config.block_queries, total))

        # only what workers search is under way several times
        return in_order(records, todo, at_once) if at_once > 1 else map(records, todo)

    def memory_bytes(self) -> int:
        """Bound of a block's search and fusion, in bytes."""
        batch = min(self.config.block_queries, self.inputs.rows.size)
        found = [s.memory_bytes(batch, k) for s, k in zip(self.sources, self.quotas, strict=True)]
        return search_memory(self.config, batch, self.quotas, found)

    @property
    def _only_similarity(self) -> bool:
        return only_similarity(self.config)

    def _part(self, start: int) -> Path:
        # the block size is in the name: a run resumed with another one starts its own parts
        return self.folder / f"part-{self.config.block_queries}-{start:09d}.npy"

    def _records(self, start: int, stop: int) -> np.ndarray:
        """All columns of a block in one array: a file for each would be synced to disk alone."""
        columns = self._block(start, stop)
        records = np.empty(columns[0].shape, dtype=np.dtype(list(_COLUMNS.items())))
        for name, column in zip(_COLUMNS, columns, strict=True):
            records[name] = column
        return records

    def _block(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        lists = [
            Ranked(*source.search(start, stop, k), weight=s.weight)
            for source, s, k in zip(self.sources, self.config.sources, self.quotas, strict=True)
        ]
        if self._only_similarity:
            ids, scores = _to_depth(lists[0].ids, lists[0].scores, self.config.depth)
            ranks = np.where(ids >= 0, np.arange(1, self.config.depth + 1), 0)
            return ids, scores, np.zeros(ids.shape, dtype=np.uint8), ranks.astype(np.int32)
        # a source alone keeps its order: fused scores could round two of them into a tie
        how = self.config.fuse if len(lists) > 1 else "union"
        fused = fuse(lists, how, self.config.rrf_k)
        return self._ordered(fused, self._similarity(fused, lists, start, stop), len(lists))

    def _similarity(self, fused: Fused, lists: list[Ranked], start: int, stop: int) -> F32:
        vectors, corpus = self.inputs.query_vectors, self.inputs.corpus_vectors
        if vectors is None or corpus is None:
            return _own_scores(fused, lists)
        return exact_scores(vectors.take(np.arange(start, stop)), corpus, fused.ids)

    def _ordered(self, fused: Fused, similarity: F32, lists: int) -> tuple[np.ndarray, ...]:
        depth, rank_N = self.config.depth, self.inputs.corpus.ids.rank_N
        encoded = self.inputs.query_vectors is not None
        by_similarity = lists > 1 and self.config.fuse == "union" and encoded
        values = similarity if by_similarity else fused.values
        pad = fused.ids < 0
        ties = np.where(pad, np.iinfo(np.int64).max, rank_N[np.maximum(fused.ids, 0)])
        order = np.lexsort((ties, -np.where(pad, -np.inf, values)), axis=-1)[:, :depth]

        def pick(values: np.ndarray, empty: float) -> np.ndarray:
            chosen = np.take_along_axis(values, order, axis=1)
            short = ((0, 0), (0, depth - chosen.shape[1]))
            return np.pad(chosen, short, constant_values=values.dtype.type(empty))

        return (
            pick(fused.ids, -1),
            pick(similarity, -np.inf),
            pick(fused.source, 0),
            pick(fused.source_rank, 0),
        )


def _own_scores(fused: Fused, lists: list[Ranked]) -> F32:
    """Each document's score by the source that ranked it best."""
    scores = np.full(fused.ids.shape, -np.inf, dtype=np.float32)
    for number, ranked in enumerate(lists):
        here = (fused.source == number) & (fused.ids >= 0)
        rows, _ = np.nonzero(here)
        scores[here] = ranked.scores[rows, fused.source_rank[here] - 1]
    return scores


def _to_depth(ids: np.ndarray, scores: F32, depth: int) -> tuple[np.ndarray, F32]:
    short = ((0, 0), (0, max(0, depth - ids.shape[1])))
    return (
        np.pad(ids[:, :depth], short, constant_values=-1),
        np.pad(scores[:, :depth], short, constant_values=np.float32(-np.inf)),
    )

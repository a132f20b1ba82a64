"""Search, choosing, reading and measures, timed on a small dataset with random vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.beir import open_beir
from ...core.dataset import DatasetConfig
from ...core.embeddings import Embeddings
from ...core.run import Prepared
from ...eval.measures import per_query
from ...eval.significance import compare_all
from ...indexes.config import IndexConfig
from ...indexes.dense import open_exact
from ...indexes.lexical import open_lexical
from ...indexes.retrieve import retrieve
from ...indexes.sources import SourceConfig
from ...miner.filters import FilterConfig
from ...miner.mine import mine, search_inputs
from ..run_config import TrainConfig
from .rates import Line
from .sizes import Sizes
from .stopwatch import Stopwatch
from .toy import open_toy, unit_vectors, write_toy

NUMBERS = 40_000_000  # of a corpus of random vectors
_MOST_ROWS, _LEAST_ROWS = 131_072, 1024
_FEW, _MANY, _MOST = 128, 1024, 8192
_MOST_DEPTH = 2048


def searched_sources(config: TrainConfig) -> tuple[SourceConfig, ...]:
    """The sources of mining and of the evaluation that search something."""
    every = (*config.retrieve.sources, config.eval.source)
    return tuple(source for source in every if source.kind != "run")


def measure_dense(config: TrainConfig, dimension: int, depth: int) -> Line:
    """Exact search as configured, opening it included."""
    section = next((s.index for s in searched_sources(config) if s.kind == "dense"), None)
    if section is None:
        return Line()
    index = IndexConfig(device=section.device)
    if section.exact:
        index = section
    large = max(2 * _LEAST_ROWS, min(_MOST_ROWS, NUMBERS // dimension))
    vectors = unit_vectors(large, dimension)
    queries = unit_vectors(_MANY, dimension, 1)
    points: list[tuple[float, float, float]] = []
    for documents in (large // 16, large):
        corpus = Embeddings.from_array(vectors[:documents])
        rank = np.arange(documents)
        if not points:
            # what is imported and set up once
            open_exact(index, corpus, rank, config.threads).search(queries[:1], 1)
        for rows in (_FEW, _MANY):
            with Stopwatch() as watch:
                opened = open_exact(index, corpus, rank, config.threads)
                opened.search(queries[:rows], min(depth, documents))
            points.append((documents, rows, watch.seconds))
    return Line.through(points)


def measure_rest(
    config: TrainConfig, sizes: Sizes, dimension: int, dense: Line, scratch: Path
) -> dict[str, Any]:
    """Lines of reading, lexical search, what a search does beside, choosing and measures."""
    toy = toy_config(config, scratch)
    depth = toy.retrieve.depth
    small = max(_LEAST_ROWS, depth)
    large = max(2 * small, min(8 * small, NUMBERS // dimension))
    texts, asked = sizes.document.texts, sizes.query.texts
    found: dict[str, list[tuple[float, float, float]]] = {}

    def note(name: str, documents: int, queries: int, seconds: float) -> None:
        found.setdefault(name, []).append((documents, queries, seconds))

    # the first one imports what the others use
    points = ((small, 64), (small, _FEW), (small, _MOST), (large, _MANY))
    for at, (documents, queries) in enumerate(points):
        folder = scratch / f"toy-{at}"
        write_toy(folder, documents, queries, texts, asked)
        cache = toy.cache / str(at)
        run = toy.model_copy(
            update={"cache_dir": str(cache), "dataset": DatasetConfig(path=str(folder))}
        )
        for name in ("read", "reopen"):
            with Stopwatch() as watch:
                open_beir(folder, cache)
            note(name, documents, queries, watch.seconds)
        prepared = open_toy(folder, cache, dimension)
        lexical = _lexical_seconds(run, prepared, cache)
        note("lexical", documents, queries, lexical)
        used = dense.at(documents, queries) * dense_sources(run) + lexical
        note("overhead", documents, queries, max(0.0, _search_seconds(run, prepared) - used))
        with Stopwatch() as watch:
            mine(run, prepared=prepared)
        note("choose", documents, queries, watch.seconds)
        note("measure", documents, queries, _measure_seconds(run, prepared, depth))
    lines = {name: _line(rows, name) for name, rows in found.items()}
    return {**lines, "compare": _compare_seconds(sizes.held_out, config.seed), "depth": depth}


def dense_sources(config: TrainConfig) -> int:
    """How many of the retriever's sources are dense."""
    return sum(source.kind == "dense" for source in config.retrieve.sources)


def toy_config(config: TrainConfig, scratch: Path) -> TrainConfig:
    """The configuration for a small dataset: exact search, no cross-encoder, no run files."""
    depth = min(config.retrieve.depth, _MOST_DEPTH)
    sources = tuple(
        s.model_copy(update={"index": IndexConfig(device=s.index.device)})
        for s in config.retrieve.sources
        if s.kind != "run"
    )
    retrieve_section = config.retrieve.model_copy(
        update={"depth": depth, "sources": sources or (SourceConfig(),), "export": False}
    )
    denoise = FilterConfig.model_fields["denoise"].get_default(call_default_factory=True)
    filters = config.filters.model_copy(update={"denoise": denoise})
    return config.model_copy(
        update={
            "name": "plan",
            "runs_dir": str(scratch / "runs"),
            "cache_dir": str(scratch / "cache"),
            "retrieve": retrieve_section,
            "filters": filters,
        }
    )


def _line(points: list[tuple[float, float, float]], name: str) -> Line:
    """The line through all but the first point, whose imports are added to what is fixed."""
    terms = {"measure": "1Q", "overhead": "1Q", "lexical": "1NQP"}.get(name, "1NQ")
    found = Line.through(points[1:], terms)
    documents, queries, seconds = points[0]
    extra = max(0.0, seconds - found.at(documents, queries)) if name == "choose" else 0.0
    return replace(found, fixed=found.fixed + extra)


def _lexical_seconds(config: TrainConfig, prepared: Prepared, cache: Path) -> float:
    dataset, total = prepared.dataset, 0.0
    for source in config.retrieve.sources:
        if source.kind in ("bm25s", "lucene"):
            settings = source.lexical.model_copy(update={"backend": source.kind})
            with Stopwatch() as watch:
                index = open_lexical(settings, dataset.corpus, cache / "timed", config.threads)
                index.search(dataset.queries.texts(prepared.queries.rows), config.retrieve.depth)
            total += watch.seconds
    return total


def _search_seconds(config: TrainConfig, prepared: Prepared) -> float:
    inputs = search_inputs(config, prepared, prepared.qrels)
    with Stopwatch() as watch:
        retrieve(inputs, config.retrieve, config.cache, config.threads)
    return watch.seconds


def _measure_seconds(config: TrainConfig, prepared: Prepared, depth: int) -> float:
    rows = prepared.queries.rows
    ids = np.tile(np.arange(depth), (rows.size, 1))
    with Stopwatch() as watch:
        per_query(config.eval.measures, prepared.qrels, rows, ids)
    return watch.seconds


def _compare_seconds(held_out: int, seed: int) -> float:
    """Seconds for one held-out query in the comparison of three systems by three measures."""
    rows = max(2, min(held_out, 2000))
    values = np.random.default_rng(0).random((3, rows))
    systems = {str(at): {name: row for name in ("a", "b", "c")} for at, row in enumerate(values)}
    with Stopwatch() as watch:
        compare_all(systems, seed)
    return watch.seconds / rows

"""The stages of `pyrite mine`."""

from __future__ import annotations

from collections.abc import Iterator

from ...indexes.sources import SourceConfig
from .ann_work import ann_work
from .disk import (
    HASH,
    REASON,
    candidates_bytes,
    negatives_bytes,
    texts_bytes,
    vectors_bytes,
)
from .estimate import Estimate
from .memory import encode_memory, ids_memory, retrieve_memory
from .stage import Basis, Stage, Where

MINE = "mine"


def mine_stages(of: Estimate) -> Iterator[Stage]:
    """Reading, encoding, searching and choosing, in their order."""
    yield read_stage(of)
    if of.computed:
        yield Stage(
            *(MINE, "load the model", _parameters(of), of.rates.load, "measured", "once"),
            memory=0.0 if of.shape is None else of.shape.parameters * of.shape.bytes_each,
            where=model_place(of),
        )
    yield encode_stage(of, MINE, "encode documents", of.sizes.documents, "document")
    yield encode_stage(of, MINE, "encode queries", of.sizes.queries, "query")
    for source in of.config.retrieve.sources:
        if source.kind == "dense" and not source.index.exact:
            yield index_stage(of, source)
    yield search_stage(of)
    if of.config.filters.denoise.model is not None:
        pairs = of.sizes.queries * of.config.filters.denoise.depth
        amount = f"{pairs:,} pairs"
        yield Stage(MINE, "denoise", amount, None, "unknown", "a cross-encoder is not timed")
    yield choose_stage(of)


def _parameters(of: Estimate) -> str:
    return "" if of.shape is None else f"{of.shape.parameters:,} parameters"


def model_place(of: Estimate) -> Where:
    """Where the model's weights are."""
    here = of.config.encoder.device == "cpu" and of.device is None
    return "host" if here else "device"


def read_stage(of: Estimate) -> Stage:
    """Texts from `.jsonl` into Arrow, and the index of the ids."""
    sizes = of.sizes
    seconds = of.rates.read.at(sizes.documents, sizes.asked)
    disk = texts_bytes(sizes.documents, sizes.document) + texts_bytes(sizes.asked, sizes.query)
    memory = ids_memory(sizes.documents, sizes.document.longest_id)
    return Stage(
        *(MINE, "read texts", f"{sizes.documents + sizes.asked:,} texts", seconds, "measured"),
        "rows (text + id + 16)",
        disk=disk,
        memory=memory + ids_memory(sizes.asked, sizes.query.longest_id),
    )


def encode_stage(of: Estimate, verb: str, name: str, rows: float, role: str) -> Stage:
    """Texts into vectors, kept in the cache."""
    facts = of.sizes.query if role == "query" else of.sizes.document
    seconds = of.encode(rows, "query" if role == "query" else "document")
    most = of.config.encoder.token_budget
    width = float(facts.tokens_S.max())
    vectors = rows * of.dimension * of.vector_bytes if of.computed else 0.0
    memory = 0.0 if of.shape is None else encode_memory(of.shape, most, width)
    formula = "sum over padded batches of tokens (2 P + 4 L H width) / rate"
    return Stage(
        *(verb, name, f"{rows:,.0f} texts, {facts.mean_tokens:.0f} tokens", seconds),
        "unknown" if seconds is None else of.basis,
        formula if of.computed else "vectors are there",
        disk=vectors_bytes(rows, of.dimension, of.vector_bytes) if of.computed else 0.0,
        # the parts, until they are joined
        scratch=vectors,
        memory=memory,
        where=model_place(of),
    )


def index_stage(of: Estimate, source: SourceConfig) -> Stage:
    """An approximate index, trained, filled and measured."""
    work = ann_work(source.index, of.dimension)
    seconds = of.build(source, of.sizes.documents)
    held = 0 if work is None else work.memory(of.sizes.documents)
    sample = min(source.index.train_size, of.sizes.documents) * of.dimension * 4
    on_device = source.index.device != "cpu"
    return Stage(
        *(MINE, f"index {source.index.factory}", f"{of.sizes.documents:,} vectors", seconds),
        "unknown" if seconds is None else "measured",
        "no formula for this factory" if work is None else "multiplications of its k-means / rate",
        disk=held,
        memory=held + sample,
        where="device" if on_device else "host",
    )


def search_stage(of: Estimate) -> Stage:
    """All queries in all sources."""
    sizes, section = of.sizes, of.config.retrieve
    depth = min(section.depth, sizes.documents)
    seconds = of.search(section.sources, sizes.documents, sizes.queries, depth)
    columns = candidates_bytes(sizes.queries, depth)
    return Stage(
        *(MINE, "search", f"{sizes.queries:,} queries, depth {depth}", seconds),
        searched_basis(of, section.sources, seconds),
        "Q N D, and Q K scored again",
        disk=columns,
        scratch=columns,
        memory=retrieve_memory(section, sizes.documents, sizes.queries, of.dimension),
        where="device" if any(s.index.device != "cpu" for s in section.sources) else "host",
    )


def searched_basis(of: Estimate, sources: tuple[SourceConfig, ...], seconds: float | None) -> Basis:
    """Whether a figure of the device is in the seconds of a search."""
    if seconds is None:
        return "unknown"
    on_device = any(source.kind == "dense" and source.index.exact for source in sources)
    return of.basis if on_device else "measured"


def choose_stage(of: Estimate) -> Stage:
    """Filters, draw and the parquet of the negatives."""
    sizes, n = of.sizes, of.config.sampler.total
    depth = min(of.config.retrieve.depth, sizes.documents)
    ids = sizes.query.id_bytes, sizes.document.id_bytes
    disk = REASON * sizes.queries * depth + negatives_bytes(sizes.queries, n, *ids)
    rows = sizes.documents + sizes.asked
    return Stage(
        *(MINE, "filter and draw", f"{sizes.queries * depth:,} candidates", of.choose()),
        "measured",
        "Q K, and a hash of each text",
        disk=disk + HASH * rows,
        scratch=disk,
        # hashes of ids and texts, and some arrays of a block
        memory=3.0 * HASH * rows + 200.0 * min(of.config.block_queries, sizes.queries) * depth,
    )

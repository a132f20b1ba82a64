"""The stages of `pyrite train` behind mining: trainings, refreshes and evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ...eval.measures import cutoff
from ...indexes.retrieve import RetrieveConfig
from ..checkpoints import KEPT
from .disk import candidates_bytes, checkpoint_bytes, feed_bytes, vectors_bytes
from .estimate import Estimate
from .memory import retrieve_memory, step_memory
from .mine_stages import encode_stage, model_place, searched_basis
from .shape import widest
from .stage import Stage

TRAIN = "train"


def train_stages(of: Estimate) -> Iterator[Stage]:
    """What follows mining, for the configured kind of training."""
    kind = of.config.train.kind
    yield evaluation_stage(of, "evaluate base", 0.0)
    if kind == "cross-encoder":
        yield Stage(TRAIN, "train the reranker", "", None, "unknown", "not timed")
        return
    if kind == "query-side":
        yield query_side_stage(of)
        yield evaluation_stage(of, "evaluate query_side", 0.0)
    else:
        for system, n in (("in_batch", 0), ("mined", negatives(of))):
            yield training_stage(of, system, n)
            yield from _while_training(of, system)
            # other weights: the whole corpus is encoded again
            yield evaluation_stage(of, f"evaluate {system}", of.sizes.documents)
    seconds = of.rates.compare * of.sizes.held_out
    amount = f"{of.sizes.held_out:,} held-out queries"
    yield Stage(TRAIN, "compare", amount, seconds, "measured", "resamples of each pair of systems")


def negatives(of: Estimate) -> int:
    """Mined negatives in a row."""
    return of.config.train.negatives or of.config.sampler.total


def steps(of: Estimate) -> int:
    """Optimizer steps of one training."""
    train = of.config.train
    if train.steps is not None:
        return train.steps
    rows = of.sizes.queries if train.positives == "one" else of.sizes.pairs
    each = max(1, rows // train.batch_size) / train.gradient_accumulation
    return max(1, math.ceil(max(1.0, each) * train.epochs))


def widths(of: Estimate, n: int) -> list[float]:
    """The padded width of each column of a batch, in tokens."""
    rows = of.config.train.batch_size
    document = widest(of.sizes.document.tokens_S, rows)
    return [widest(of.sizes.query.tokens_S, rows), *(document for _ in range(1 + n))]


def training_stage(of: Estimate, system: str, n: int) -> Stage:
    """One training with `n` mined negatives a row."""
    train, count = of.config.train, steps(of)
    each = of.step(widths(of, n), train.batch_size)
    saves = math.ceil(count / train.save_every)
    seconds = None
    if each is not None:
        around = of.rates.train_start + of.rates.reopen.at(*_rows(of))
        seconds = count * each + saves * of.rates.save + around
    stage = Stage(
        *(TRAIN, f"train {system}", f"{count:,} steps of {train.batch_size} x {2 + n} texts"),
        seconds,
        "unknown" if seconds is None else of.basis,
        "steps 3 sum over columns of rows width (2 P + 4 L H width) / rate",
        where=model_place(of),
    )
    if of.shape is None:
        return stage
    checkpoint = checkpoint_bytes(of.shape.disk, of.shape.trained)
    fed = feed_bytes(of.sizes.pairs, of.sizes.documents, of.sizes.queries, n)
    # a new checkpoint is there before the oldest one goes
    scratch = min(KEPT + 1, saves) * checkpoint
    memory = step_memory(of.shape, widths(of, n), train.batch_size, train)
    return replace(stage, disk=of.shape.disk + fed, scratch=scratch, memory=memory)


def _rows(of: Estimate) -> tuple[int, int]:
    return of.sizes.documents, of.sizes.asked


def evaluation_stage(of: Estimate, name: str, encoded: float) -> Stage:
    """Held-out queries searched and measured, after `encoded` documents were encoded anew."""
    sizes, section = of.sizes, of.config.eval
    depth = min(cutoff(section.measures), sizes.documents)
    sources = (section.source,)
    parts = [
        of.encode(encoded, "document") if encoded else 0.0,
        of.encode(sizes.held_out, "query") if sizes.held_out else 0.0,
        of.search(sources, sizes.documents, sizes.held_out, depth),
        of.rates.measure.at(0, sizes.held_out),
        of.rates.reopen.at(*_rows(of)),
        of.rates.load if encoded else 0.0,
    ]
    known = [part for part in parts if part is not None]
    seconds = sum(known) if len(known) == len(parts) else None
    basis = searched_basis(of, sources, seconds)
    if seconds is not None and of.computed:
        basis = of.basis
    search = RetrieveConfig(depth=depth, block_queries=section.block_queries, sources=sources)
    texts = encode_stage(of, TRAIN, name, max(encoded, 1.0), "document")
    vectors = vectors_bytes(encoded + sizes.held_out, of.dimension, of.vector_bytes)
    return Stage(
        *(TRAIN, name, f"{sizes.held_out:,} queries, {encoded:,.0f} documents encoded", seconds),
        basis,
        "encode, search and measure",
        disk=candidates_bytes(sizes.held_out, depth) + (vectors if of.computed else 0.0),
        scratch=encoded * of.dimension * of.vector_bytes if of.computed else 0.0,
        memory=max(
            texts.memory if encoded else 0.0,
            retrieve_memory(search, sizes.documents, max(1, sizes.held_out), of.dimension),
        ),
        where=model_place(of),
    )


def _while_training(of: Estimate, system: str) -> Iterator[Stage]:
    """Development measurements, and refreshes of the mined negatives."""
    stopping, refresh = of.config.train.early_stopping, of.config.refresh
    if stopping.split is not None:
        times = steps(of) // stopping.every
        asked = float(of.sizes.held_out)
        documents = float(of.sizes.documents)
        if stopping.pool_depth is not None:
            found = asked * stopping.pool_depth * len(stopping.pool_sources)
            documents = min(documents, found)
        one = _sum(of.encode(documents, "document"), of.encode(asked, "query"))
        yield Stage(
            *(TRAIN, f"measure {system} on {stopping.split}", f"{times:,} times"),
            None if one is None else times * one,
            "unknown" if one is None else of.basis,
            "as many queries as are held out; documents encoded each time",
        )
    if system == "mined" and refresh.mode != "off":
        yield refresh_stage(of)


def refresh_stage(of: Estimate) -> Stage:
    """All generations of refreshed negatives; in async mode a process beside the training."""
    refresh, sizes = of.config.refresh, of.sizes
    times = max(0, steps(of) - 1) // refresh.least_steps
    share = 1.0 if refresh.partial.kind == "off" else refresh.partial.share
    if refresh.partial.kind == "queries":
        share = refresh.partial.share * refresh.partial.probe
    queries = sizes.queries / refresh.chunk
    sources, depth = of.config.retrieve.sources, min(of.config.retrieve.depth, sizes.documents)
    one = _sum(
        of.encode(sizes.documents * share, "document"),
        of.encode(queries, "query"),
        of.search(sources, sizes.documents, queries, depth),
        of.choose() / refresh.chunk,
        of.rates.load + of.rates.reopen.at(*_rows(of)),
    )
    each = vectors_bytes(sizes.documents + queries, of.dimension, of.vector_bytes)
    each += candidates_bytes(queries, depth)
    beside = ", beside the training" if refresh.mode == "async" else ""
    return Stage(
        *(TRAIN, f"refresh ({refresh.mode})", f"{times:,} generations{beside}"),
        None if one is None else times * one,
        "unknown" if one is None else of.basis,
        "encode, search and choose, for each generation",
        # the vectors of one generation and of the one before
        scratch=2.0 * each,
        beside=refresh.mode == "async",
    )


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def query_side_stage(of: Estimate) -> Stage:
    """Queries encoded forward and back, and the whole corpus searched at each step."""
    train, count = of.config.train, steps(of)
    rows = train.batch_size
    width = widest(of.sizes.query.tokens_S, rows)
    depth = min(train.neg_topk, of.sizes.documents)
    dense = tuple(s for s in of.config.retrieve.sources if s.kind == "dense")[:1]
    each = of.step([width], rows)
    forward = of.encode(rows, "query")
    if each is None and forward is not None and of.device is None:
        each = 3 * forward
    searched = of.search(dense, of.sizes.documents, rows, depth)
    if searched is not None:
        searched -= of.rates.overhead.at(of.sizes.documents, rows) + of.rates.dense.fixed
        searched -= of.rates.dense.documents * of.sizes.documents
    one = _sum(each, searched)
    return Stage(
        *(TRAIN, "train query_side", f"{count:,} steps of {rows} queries"),
        None if one is None else count * max(0.0, one),
        "unknown" if one is None else of.basis,
        "steps (3 forward passes over the queries + B N D)",
        disk=0.0 if of.shape is None else of.shape.disk,
        where=model_place(of),
    )

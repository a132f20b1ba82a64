"""Filtering and the SimANS draw, beside the per-query Python loop that reference miners use.

    python benchmarks/draw.py [--queries 500000] [--depth 200] [--negatives 7]

Both get the same candidates block by block and run on one core; making the candidates is not timed.
The loop runs on a sample and is extrapolated. The draws of both are compared by a chi-square test.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import Reading, in_process, measured, publish, report, row

DOCUMENTS, BLOCK, SAMPLE = 1_000_000, 512, 2000
A, B, TAU, PERCENT = 0.5, 0.0, 0.05, 0.95


def block_of(start: int, rows: int, depth: int) -> tuple[Any, Any, Any]:
    """Ids int64 [Q, K] and scores float32 [Q, K], descending, and the positives' scores [Q]."""
    rng = np.random.default_rng(start)
    first = rng.integers(0, DOCUMENTS, (rows, 1))
    ids = (first + np.arange(depth) * 4999) % DOCUMENTS
    scores = np.sort(rng.normal(0.45, 0.08, (rows, depth)).astype(np.float32), axis=1)[:, ::-1]
    return ids, np.ascontiguousarray(scores), rng.normal(0.62, 0.08, rows).astype(np.float32)


def context(queries: int) -> Any:
    from pyrite.core.rng import splitmix64
    from pyrite.core.tables import Qrels
    from pyrite.miner.choose import Context

    docs = splitmix64(np.arange(DOCUMENTS, dtype=np.uint64))
    rows = np.arange(queries)
    positives = (rows * 7919) % DOCUMENTS
    return Context(
        Qrels.build(rows, positives, np.ones(queries, dtype=np.int64), queries),
        splitmix64(np.arange(queries, dtype=np.uint64) + np.uint64(2**40)),
        docs,
        splitmix64(np.arange(queries, dtype=np.uint64) + np.uint64(2**41)),
        splitmix64(docs),
        np.arange(DOCUMENTS),
    )


def draw_ours(options: argparse.Namespace) -> Reading:
    from pyrite.core.candidates import Candidates
    from pyrite.miner.choose import choose, reasons_of
    from pyrite.miner.filters import FilterConfig
    from pyrite.miner.samplers import SamplerConfig

    known = context(options.queries)
    filters = FilterConfig(percent=PERCENT)
    sampler = SamplerConfig(name="simans", n=options.negatives, a=A, b=B, tau=TAU)
    spent = 0.0
    with measured() as reading:
        for start in range(0, options.queries, BLOCK):
            rows = np.arange(start, min(start + BLOCK, options.queries))
            ids, scores, positives = block_of(start, rows.size, options.depth)
            candidates = Candidates.of_one(rows, ids, scores, "dense")
            begun = time.perf_counter()
            reasons = reasons_of(candidates, positives, known, filters)
            choose(candidates, reasons, positives, known, sampler, 0)
            spent += time.perf_counter() - begun
    reading.seconds = spent
    return reading


def loop_once(
    ids: Any, scores: Any, positive: float, known: set[int], n: int, rng: Any
) -> list[int]:
    """One query as the reference implementations do it: a Python loop and `random.choices`."""
    kept, weights = [], []
    for doc, score in zip(ids, scores, strict=True):
        if doc in known or score >= positive - (1 - PERCENT) * abs(positive):
            continue
        kept.append(doc)
        weights.append(np.exp(-A * ((score - positive) / TAU - B) ** 2))
    chosen: list[int] = []
    while kept and len(chosen) < n:
        at = rng.choices(range(len(kept)), weights)[0] if sum(weights) > 0 else 0
        chosen.append(kept.pop(at))
        weights.pop(at)
    return chosen


def draw_loop(options: argparse.Namespace) -> Reading:
    rng, spent, done = random.Random(0), 0.0, 0
    with measured() as reading:
        for start in range(0, SAMPLE, BLOCK):
            ids, scores, positives = block_of(start, min(BLOCK, SAMPLE - start), options.depth)
            lists = ids.tolist(), scores.tolist(), positives.tolist()
            begun = time.perf_counter()
            for number, (doc, score, positive) in enumerate(zip(*lists, strict=True), start=start):
                loop_once(doc, score, positive, {number * 7919 % DOCUMENTS}, options.negatives, rng)
            spent += time.perf_counter() - begun
            done += len(lists[0])
    reading.seconds = spent * options.queries / done
    return reading


def same_distribution(draws: int = 20_000) -> float:
    """p-value of a chi-square test that both draw the same documents of one query equally often."""
    from pyrite.core.candidates import Candidates
    from pyrite.miner.choose import choose, reasons_of
    from pyrite.miner.filters import FilterConfig
    from pyrite.miner.samplers import SamplerConfig

    ids, scores, positive = block_of(5, 1, 40)
    known = context(draws)
    every = (np.tile(ids, (draws, 1)), np.tile(scores, (draws, 1)), np.tile(positive, draws))
    candidates = Candidates.of_one(np.arange(draws), every[0], every[1], "dense")
    reasons = reasons_of(candidates, every[2], known, FilterConfig(percent=PERCENT))
    sampler = SamplerConfig(name="simans", n=1, a=A, b=B, tau=TAU)
    ours = choose(candidates, reasons, every[2], known, sampler, 0).ids[:, 0]
    rng = random.Random(1)
    query = ids[0].tolist(), scores[0].tolist(), float(positive[0])
    theirs = np.array([loop_once(*query, set(), 1, rng)[0] for _ in range(draws)])
    counts = np.array([[(found == doc).sum() for doc in ids[0]] for found in (ours, theirs)])
    often = counts.sum(axis=0) >= 20
    table = np.concatenate((counts[:, often], counts[:, ~often].sum(axis=1, keepdims=True)), axis=1)
    return float(stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue)


CONTESTANTS = {"ours": draw_ours, "loop": draw_loop}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=500_000)
    parser.add_argument("--depth", type=int, default=200)
    parser.add_argument("--negatives", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--contestant", choices=CONTESTANTS)
    options = parser.parse_args()
    if options.contestant:
        report(CONTESTANTS[options.contestant](options))
        return
    sizes = [f"--{name}={getattr(options, name)}" for name in ("queries", "depth", "negatives")]
    found = {name: in_process(Path(__file__), name, Path(), *sizes) for name in CONTESTANTS}
    pvalue = same_distribution()
    print(f"draws of both, chi-square: p = {pvalue:.3f}")
    publish(
        "draw",
        [row("filter and SimANS draw: Python loop, extrapolated", found["ours"], found["loop"])],
        f"{options.queries} queries x {options.depth} candidates x {options.negatives} negatives,"
        f" one core; chi-square p={pvalue:.3f}",
    )


if __name__ == "__main__":
    main()

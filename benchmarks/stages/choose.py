"""Filters and the SimANS draw, more and more queries, beside a Python loop over the queries."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import Reading
from draw import SAMPLE, draw_loop, draw_ours
from stage import Stage

DEPTH, NEGATIVES = 200, 7


def options(size: int) -> argparse.Namespace:
    return argparse.Namespace(queries=size, depth=DEPTH, negatives=NEGATIVES)


def ours(folder: Path, size: int) -> Reading:
    return draw_ours(options(size))


def loop(folder: Path, size: int) -> Reading:
    return draw_loop(options(size))


STAGE = Stage(
    "filter and draw",
    "queries",
    f"{DEPTH} candidates, {NEGATIVES} negatives each, one core; the loop is timed on {SAMPLE}"
    " queries and extrapolated, and so is linear by definition",
    (50_000, 100_000, 200_000),
    (2000, 4000, 8000),
    lambda folder, size: None,
    {"pyrite": ours, "Python loop": loop},
)

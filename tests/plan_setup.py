"""Rates, shapes and sizes of a machine that does not exist, for plans of no particular model."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrite.core.config import parse_config
from pyrite.trainers.plan.devices import Device
from pyrite.trainers.plan.estimate import Estimate
from pyrite.trainers.plan.rates import Line, Rates
from pyrite.trainers.plan.shape import ModelShape
from pyrite.trainers.plan.sizes import Sizes, TextFacts
from pyrite.trainers.run_config import TrainConfig

SHAPE = ModelShape(
    parameters=22_713_216,
    matrices=10_795_392,
    layers=6,
    hidden=384,
    heads=12,
    intermediate=1536,
    dimension=384,
    bytes_each=4,
    disk=90_852_864,
    trained=22_713_216,
)
RATES = Rates(
    load=1.0,
    encode={"document": 2e11, "query": 1e11},
    tokens=2e5,
    train=1.5e11,
    train_start=1.0,
    save=2.0,
    read=Line(0.1, 2e-5, 2e-5),
    reopen=Line(0.1, 2e-6, 2e-6),
    dense=Line(0.01, 4e-6, 1e-4, 3e-9),
    lexical=Line(0.1, 1e-4, 1e-3, 1e-8),
    overhead=Line(0.05, 0.0, 1e-5),
    choose=Line(1.0, 1e-6, 2e-5),
    measure=Line(0.01, 0.0, 1e-4),
    compare=1e-3,
    build=1e-11,
    probe=1e-10,
    table=1.0,
    write=5e8,
    sync=1e-3,
    hardware="a machine of the tests",
    date="2026-11-21",
    depth=200,
)


def facts(*tokens: int) -> TextFacts:
    """Texts of so many words."""
    lengths = np.sort(np.array(tokens, dtype=np.int64))
    texts = tuple(" ".join(["w1"] * n) for n in lengths.tolist())
    size = float(np.mean([len(text) for text in texts]))
    return TextFacts(lengths, texts, size, 7.0, 9)


def sizes(documents: int = 100_000, queries: int = 10_000, held_out: int = 500) -> Sizes:
    return Sizes(
        documents,
        queries,
        held_out,
        queries + held_out,
        queries + queries // 10,
        facts(20, 40, 60, 61, 64),
        facts(8, 12, 16),
        "data",
    )


def config_of(**changes: Any) -> TrainConfig:
    return parse_config(TrainConfig, changes)


def estimate_of(
    config: TrainConfig | None = None,
    of: Sizes | None = None,
    device: Device | None = None,
    rates: Rates = RATES,
    shape: ModelShape | None = SHAPE,
) -> Estimate:
    return Estimate(config or config_of(), of or sizes(), shape, rates, device, 384)

"""Fixtures and the environment of every test: no network, a bounded number of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import BagOfWords, toy_dataset
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("pyrite", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("pyrite")

SCIFACT = Path(__file__).resolve().parents[2] / "shared" / "data" / "scifact"


@pytest.fixture
def encoder() -> BagOfWords:
    return BagOfWords()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return toy_dataset(tmp_path / "toy")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray on this machine, with room for three workers; started once, as a start takes seconds."""
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    ray.init(
        address="local",
        num_cpus=3,
        object_store_memory=256 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def scifact() -> Path:
    if not SCIFACT.is_dir():
        pytest.skip(f"real BEIR data is not at {SCIFACT}")
    return SCIFACT

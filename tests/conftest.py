"""Fixtures and the environment of every test: no network, a bounded number of threads."""

from __future__ import annotations

import os
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
def scifact() -> Path:
    if not SCIFACT.is_dir():
        pytest.skip(f"real BEIR data is not at {SCIFACT}")
    return SCIFACT

"""Texts of the embedded dataset, as many as asked for, and MiniLM to encode them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import STATE

MAX_LENGTH = 128
THREADS = 2


def write_sample(folder: Path, documents: int, queries: int = 0) -> None:
    """Documents and queries of the embedded dataset as `corpus.arrow` and `queries.arrow`.

    In an order by hash, so that a larger sample has texts as long as a smaller one.
    """
    from pyrite.core.dataset import DatasetConfig, open_dataset
    from pyrite.core.tables import write_texts

    dataset = open_dataset(DatasetConfig(), STATE / "cache")
    for name, table, count in (
        ("corpus", dataset.corpus, documents),
        ("queries", dataset.queries, queries),
    ):
        if count > len(table):
            raise SystemExit(f"the embedded dataset has {len(table)} {name}, not {count}")
        rows = np.argsort(table.id_hashes(), kind="stable")[:count]
        write_texts(
            folder / f"{name}.arrow", zip(table.id_strings(rows), table.texts(rows), strict=True)
        )


def open_sample(folder: Path, name: str = "corpus") -> Any:
    """A table that `write_sample` wrote."""
    from pyrite.core.digest import digest_file
    from pyrite.core.tables import TextTable

    path = folder / f"{name}.arrow"
    return TextTable.open(path, digest_file(path), name)


def encoder_config() -> Any:
    """MiniLM at `MAX_LENGTH` tokens, after torch has been given its threads."""
    import torch

    from pyrite.core.sbert import EncoderConfig

    torch.set_num_threads(THREADS)
    return EncoderConfig(max_length=MAX_LENGTH)


def warm_model(config: Any) -> Any:
    """The model of a configuration, after a first batch."""
    from pyrite.core.sbert import load_model

    model = load_model(config)
    model.encode(["a first text"] * 8)
    return model

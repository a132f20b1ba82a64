"""A small dataset with random vectors, to time everything that is not the model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...core.beir import open_beir, write_beir
from ...core.embeddings import Embeddings
from ...core.encoder import F32
from ...core.run import Prepared, QuerySet

SPLIT = "train"


def unit_vectors(rows: int, dimension: int, seed: int = 0) -> F32:
    """Random vectors of length 1, float32 [rows, dimension]."""
    found = np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def write_toy(
    folder: Path, documents: int, queries: int, texts: Sequence[str], asked: Sequence[str]
) -> None:
    """A BEIR folder with the given texts in turn, each with a number: no two are the same."""
    corpus = {f"d{at:08d}": ("", f"{texts[at % len(texts)]} {at}") for at in range(documents)}
    questions = {f"q{at:08d}": f"{asked[at % len(asked)]} {at}" for at in range(queries)}
    judged = [(f"q{at:08d}", f"d{at % documents:08d}", 1) for at in range(queries)]
    write_beir(folder, corpus, questions, {SPLIT: judged})


def open_toy(folder: Path, cache: Path, dimension: int) -> Prepared:
    """The folder with random vectors; a query is near its positive."""
    dataset = open_beir(folder, cache)
    qrels = dataset.qrels(SPLIT)
    corpus = unit_vectors(len(dataset.corpus), dimension)
    rows = qrels.with_positives()
    first = qrels.first_positives(rows, dataset.corpus.ids.rank_N)
    asked = corpus[first] + 0.8 * unit_vectors(rows.size, dimension, 1)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    documents = Embeddings.from_array(corpus, f"toy-{folder.name}")
    return Prepared(
        dataset, qrels, documents, QuerySet(rows, Embeddings.from_array(asked, "toy-asked"))
    )

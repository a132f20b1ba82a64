"""A generation's vectors: a full and a partial refresh, beside encoding the corpus again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import Reading, measured
from stage import Stage

from stages.encode import sentence_transformers
from stages.texts import MAX_LENGTH, THREADS, encoder_config, open_sample, warm_model, write_sample

QUERIES = 200
SHARE = 0.2


def prepare(folder: Path, size: int) -> None:
    from pyrite.core.encoder import plan_batches

    write_sample(folder, size, min(QUERIES, size))
    config = encoder_config()
    model = warm_model(config)
    for name in ("corpus", "queries"):
        table = open_sample(folder, name)
        texts = table.texts(slice(0, len(table)))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        lengths = np.array([len(text) for text in texts])
        for batch in plan_batches(lengths, 40_000):
            vectors[batch] = model.encode([texts[i] for i in batch], normalize_embeddings=True)
        np.save(folder / f"{name}.npy", vectors)


def refreshed(folder: Path, **partial: Any) -> Reading:
    """The weights do not differ from the stale ones: what is done does not depend on them."""
    from pyrite.core.embeddings import Embeddings
    from pyrite.core.sbert import SentenceTransformerEncoder
    from pyrite.miner.partial_config import PartialSection
    from pyrite.miner.partial_corpus import partial_corpus

    config = encoder_config()
    encoder = SentenceTransformerEncoder(config, warm_model(config))
    table = open_sample(folder)
    stale = Embeddings.from_array(np.load(folder / "corpus.npy"), "stale")
    asked = np.load(folder / "queries.npy")
    section = PartialSection.model_validate(partial)
    with tempfile.TemporaryDirectory(dir=folder) as cache, measured() as reading:
        inputs = (section, encoder, table, stale, asked, Path(cache), config.token_budget)
        partial_corpus(*inputs)
    return reading


def partly(folder: Path, size: int) -> Reading:
    return refreshed(folder, kind="choose", share=SHARE)


def fully(folder: Path, size: int) -> Reading:
    return refreshed(folder)


STAGE = Stage(
    "refresh the vectors of a generation",
    "documents",
    f"MiniLM, {MAX_LENGTH} tokens, {THREADS} threads; partial: {SHARE:.0%} encoded",
    (300, 600, 1200),
    (100, 200, 300),
    prepare,
    {
        "pyrite, partial": partly,
        "pyrite, full": fully,
        "sentence-transformers encode": sentence_transformers,
    },
)

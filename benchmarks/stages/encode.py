"""Encoding a corpus into the store, beside `SentenceTransformer.encode`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import Reading, measured
from stage import Stage

from stages.texts import MAX_LENGTH, THREADS, encoder_config, open_sample, warm_model, write_sample


def ours(folder: Path, size: int) -> Reading:
    from pyrite.core.embeddings import embed
    from pyrite.core.sbert import SentenceTransformerEncoder

    config = encoder_config()
    encoder = SentenceTransformerEncoder(config, warm_model(config))
    table = open_sample(folder)
    with tempfile.TemporaryDirectory(dir=folder) as cache, measured() as reading:
        embed(encoder, table, "document", Path(cache), config.token_budget)
    return reading


def sentence_transformers(folder: Path, size: int) -> Reading:
    model = warm_model(encoder_config())
    texts = open_sample(folder).texts(slice(0, size))
    with measured() as reading:
        model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return reading


STAGE = Stage(
    "encode a corpus into the store",
    "documents",
    f"MiniLM, {MAX_LENGTH} tokens, {THREADS} threads; ours also digests and writes, to a new cache",
    (300, 600, 1200),
    (16, 32, 64),
    write_sample,
    {"pyrite": ours, "sentence-transformers encode": sentence_transformers},
)

"""Negatives of sentence-transformers' miner, as a mining run that Pyrite's trainer reads."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from pyrite import Mined, TrainConfig
    from pyrite.core.encoder import Encoder
    from pyrite.core.run import Prepared

RELATIVE_MARGIN = 0.05


class KnownVectors:
    """A model whose vectors are known: Pyrite's own, so that both mine with the same scores."""

    device = torch.device("cpu")

    def __init__(self, documents: dict[str, Any], queries: dict[str, Any]) -> None:
        self._documents, self._queries = documents, queries

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        return np.stack([self._documents[text] for text in texts])

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        return np.stack([self._queries[text] for text in texts])

    def similarity(self, a: Any, b: Any) -> Any:
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(-1)


def triplets(prepared: Prepared, n: int, depth: int) -> dict[str, list[str]]:
    """Each query text's negatives as `mine_hard_negatives` gives them, best first."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    dataset, vectors = prepared.dataset, prepared.queries
    corpus = dataset.corpus.texts(np.arange(len(dataset.corpus)))
    asked = dataset.queries.texts(vectors.rows)
    model = KnownVectors(
        dict(zip(corpus, prepared.corpus.take(np.arange(len(corpus))), strict=True)),
        dict(zip(asked, vectors.embeddings.take(np.arange(len(asked))), strict=True)),
    )
    pairs = [
        (text, corpus[doc])
        for text, row in zip(asked, vectors.rows, strict=True)
        for doc in prepared.qrels.positives(int(row))
    ]
    anchors, positives = zip(*pairs, strict=True)
    # the miner prints its progress
    with contextlib.redirect_stdout(sys.stderr):
        mined = mine_hard_negatives(
            Dataset.from_dict({"anchor": anchors, "positive": positives}),
            model,
            corpus=corpus,
            range_max=min(depth, len(corpus) - 1),
            relative_margin=RELATIVE_MARGIN,
            num_negatives=n,
            output_format="triplet",
            verbose=False,
        )
    found: dict[str, dict[str, None]] = {text: {} for text in asked}
    for anchor, negative in zip(mined["anchor"], mined["negative"], strict=True):
        found[anchor][negative] = None
    return {text: list(negatives) for text, negatives in found.items()}


def mine_by_st(config: TrainConfig, encoder: Encoder) -> Mined:
    """`mine`, with the choice left to sentence-transformers.

    A query with fewer than `sampler.n` negatives keeps its row, and what is missing is masked: the
    miner's own n-tuples would drop the pair, and the systems would not see the same pairs.
    """
    from pyrite.core.candidates import PAD_ID, Negatives
    from pyrite.core.digest import digest_array, digest_json
    from pyrite.core.run import prepare_mining
    from pyrite.core.store import Manifest, discard
    from pyrite.miner.mine import Mined
    from pyrite.miner.negatives_file import FILE, write_rows
    from pyrite.miner.tally import Tally

    prepared = prepare_mining(config, encoder)
    dataset, rows = prepared.dataset, prepared.queries.rows
    negatives = triplets(prepared, config.sampler.total, config.retrieve.depth)
    corpus = dataset.corpus.texts(np.arange(len(dataset.corpus)))
    row_of = {text: row for row, text in reversed(list(enumerate(corpus)))}
    ids = np.full((rows.size, config.sampler.total), PAD_ID, dtype=np.int64)
    for place, text in enumerate(dataset.queries.texts(rows)):
        own = [row_of[negative] for negative in negatives[text]]
        ids[place, : len(own)] = own
    here = ids != PAD_ID
    asked = prepared.queries.embeddings.take(np.arange(rows.size))
    cosines = np.einsum("qd,qnd->qn", asked, prepared.corpus.take(np.maximum(ids, 0)))
    chosen = Negatives(
        rows,
        ids,
        np.where(here, cosines, -np.inf).astype(np.float32),
        np.zeros(ids.shape, dtype=np.int32),
        np.zeros(ids.shape, dtype=np.uint8),
        here.astype(np.float32),
        np.zeros(ids.shape, dtype=np.uint8),
        np.zeros(rows.size, dtype=np.float32),
        ("sentence-transformers",),
    )
    folder = config.run_folder / "negatives"
    discard(folder)
    write_rows(folder / FILE, chosen, dataset.queries, dataset.corpus)
    key = digest_json(["sentence-transformers", dataset.digest(), digest_array(ids)])
    manifest = Manifest.write(folder, schema=1, kind="negatives", key=key)
    return Mined(folder, Tally(), manifest, reused=False)

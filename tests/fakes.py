"""Small stand-ins for expensive parts: a real bag-of-words encoder, and datasets on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pyrite.core.digest import u64
from pyrite.core.encoder import F32, Role
from pyrite.core.ids import I64


class BagOfWords:
    """Random projections of word counts: texts that share words get similar vectors.

    No model and no torch, so a test that kills a process pays for neither. `salt` stands for the
    weights: another salt is another model.
    """

    def __init__(self, dimension: int = 16, salt: str = "") -> None:
        self._dimension = dimension
        self._salt = salt
        self.encoded = 0

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def fingerprint(self) -> str:
        return f"bag-of-words-{self._dimension}-{self._salt}"

    def lengths(self, texts: Sequence[str], role: Role) -> I64:
        return np.array([len(t.split()) for t in texts], dtype=np.int64)

    def encode_queries(self, texts: Sequence[str]) -> F32:
        return self._encode(texts)

    def encode_documents(self, texts: Sequence[str]) -> F32:
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> F32:
        self.encoded += len(texts)
        out = np.stack([self._vector(t) for t in texts])
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        return np.asarray(out / np.maximum(norms, 1e-9), dtype=np.float32)

    def _vector(self, text: str) -> F32:
        total = np.zeros(self._dimension)
        for word in text.lower().split():
            generator = np.random.default_rng(u64(word, salt=self._salt))
            total += generator.standard_normal(self._dimension)
        return total.astype(np.float32)


class SharedWords:
    """A cross-encoder without a model: the log-odds grow with the share of common words."""

    def __init__(self, salt: str = "", labels: int = 1) -> None:
        self.salt = salt
        self.labels = labels
        self.scored: list[tuple[str, str]] = []

    @property
    def fingerprint(self) -> str:
        return f"shared-words-{self.salt}"

    def lengths(self, queries: Sequence[str], documents: Sequence[str]) -> I64:
        pairs = zip(queries, documents, strict=True)
        return np.array([len(q.split()) + len(d.split()) for q, d in pairs], dtype=np.int64)

    def cut_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> int:
        return 0

    def log_odds(self, queries: Sequence[str], documents: Sequence[str]) -> F32:
        pairs = list(zip(queries, documents, strict=True))
        self.scored += pairs
        return np.array([self.score(q, d) for q, d in pairs], dtype=np.float32)

    @staticmethod
    def score(query: str, document: str) -> float:
        asked, said = set(query.lower().split()), set(document.lower().split())
        return 12 * len(asked & said) / len(asked | said) - 3 + u64(query + document) / 2**66


def write_dataset(
    folder: Path,
    corpus: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Sequence[tuple[str, str, int]]],
) -> Path:
    """A BEIR folder from plain mappings, written without Pyrite's own writer."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, texts in (("corpus", corpus), ("queries", queries)):
        lines = (json.dumps({"_id": i, "text": t}) for i, t in texts.items())
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for split, rows in qrels.items():
        lines = ("\t".join(map(str, row)) for row in [("query-id", "corpus-id", "score"), *rows])
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def toy_dataset(folder: Path, documents: int = 120, queries: int = 40, seed: int = 0) -> Path:
    """Topics of made-up words: each query shares words with its topic's documents.

    It has copied documents, queries with several positives and positives in both splits.
    """
    generator = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(60)]

    def text(topic: int) -> str:
        local = generator.choice(words[topic * 6 : topic * 6 + 12], size=5)
        return " ".join([*local, *generator.choice(words, size=3)])

    corpus = {f"d{i:04d}": text(i % 8) for i in range(documents)}
    for i in range(0, documents, 10):
        corpus[f"d{i:04d}"] = corpus[f"d{i + 1:04d}"].upper()
    asked = {f"q{i:04d}": text(i % 8) for i in range(queries)}
    qrels: dict[str, list[tuple[str, str, int]]] = {"train": [], "test": []}
    for i in range(queries):
        split = "test" if i % 4 == 0 else "train"
        for j in range(1 + i % 3):
            qrels[split].append((f"q{i:04d}", f"d{(i + 8 * j) % documents:04d}", 1))
    return write_dataset(folder, corpus, asked, qrels)

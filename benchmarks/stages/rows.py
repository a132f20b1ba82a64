"""A file of training rows in sentence-transformers' columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

NEGATIVES, WORDS = 4, 40
FILE = "rows.jsonl"


def write_rows(folder: Path, size: int) -> None:
    """Query, positive and `NEGATIVES` negatives of `WORDS` words, no text twice."""
    rng = np.random.default_rng(0)
    words = np.array([f"{a}{b}" for a in "bcdfghklmn" for b in ("ane", "ibor", "ull", "exit")])
    with (folder / FILE).open("w", encoding="utf-8") as handle:
        for number in range(size):
            drawn = words[rng.integers(0, words.size, (2 + NEGATIVES, WORDS))]
            texts = [f"{number} {at} {' '.join(row)}" for at, row in enumerate(drawn.tolist())]
            names = ["query", "positive", *(f"negative_{i + 1}" for i in range(NEGATIVES))]
            handle.write(json.dumps(dict(zip(names, texts, strict=True))) + "\n")

"""What one worker holds of the corpus vectors, and searches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.embeddings import Embeddings
from ..core.encoder import F32
from ..core.ids import I64
from ..core.store import read_array
from .config import IndexConfig
from .dense import DenseIndex, open_exact


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows `start` to `stop` of the corpus: some of one file, or several whole files."""

    start: int
    stop: int

    def of(self, corpus: Embeddings) -> list[tuple[int, slice]]:
        """The files that it lies in, by number, and its rows there."""
        rows = corpus.shard_rows
        found = []
        for number in range(self.start // rows, -(-self.stop // rows)):
            first = number * rows
            inside = slice(max(self.start - first, 0), min(self.stop - first, rows))
            found.append((number, inside))
        return found


class Shard:
    """Parts of the corpus, each of some pieces; an actor. A part is held here or mapped."""

    def __init__(self, config: IndexConfig, threads: int, key: str) -> None:
        self._config, self._threads, self._key = config, threads, key
        self._indexes: dict[int, list[tuple[int, DenseIndex]]] = {}
        self._held: dict[Piece, npt.NDArray[Any]] = {}
        self._searches = 0

    def map(self, part: int, piece: Piece, files: list[tuple[str, slice]], rank: I64) -> None:
        """Map a piece from files that this worker sees; `rank` are the places of its rows."""
        shards = [read_array(Path(path))[inside] for path, inside in files]
        self._open(part, piece, Embeddings(tuple(shards), max(len(shards[0]), 1), ""), rank)

    def begin(self, piece: Piece, dimension: int, dtype: str) -> None:
        """Make room for a piece that is sent."""
        self._held[piece] = np.empty((piece.stop - piece.start, dimension), dtype=dtype)

    def add(self, piece: Piece, first: int, block: npt.NDArray[Any]) -> None:
        """Take in rows of a piece that is sent, `first` and those after it."""
        self._held[piece][first : first + len(block)] = block

    def end(self, part: int, piece: Piece, rank: I64) -> None:
        """Open a piece that was sent."""
        held = self._held.pop(piece)
        self._open(part, piece, Embeddings((held,), max(len(held), 1), ""), rank)

    def search(self, part: int, queries_BD: F32, k: int) -> tuple[I64, F32]:
        """The top `k` of each piece: corpus rows int64 [B, <= pieces * k] and their scores."""
        self._searches += 1
        ids, scores = [], []
        for start, index in self._indexes[part]:
            found, values = index.search(queries_BD, min(k, len(index)))
            ids.append(found + start)
            scores.append(values)
        return np.concatenate(ids, axis=1), np.concatenate(scores, axis=1)

    def forget(self, part: int) -> None:
        """Take a part away whose loading broke off."""
        self._indexes.pop(part, None)

    def about(self) -> tuple[int, int]:
        """The number of this process, and how often it searched."""
        return os.getpid(), self._searches

    def _open(self, part: int, piece: Piece, vectors: Embeddings, rank: I64) -> None:
        index = open_exact(self._config, vectors, rank, self._threads, self._key)
        self._indexes.setdefault(part, []).append((piece.start, index))

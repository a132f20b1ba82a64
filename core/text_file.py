"""Texts by row from a mapped Arrow file: a data loader's worker maps it for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from .ids import I64


class Texts(Protocol):
    """Texts by row, which every process opens for itself."""

    def texts(self, rows: I64) -> list[str]:
        """Texts of the `rows` int64 [B]; NO_TEXT where a row is negative."""


# stands for a text that is missing and masked: a decoder's tokenizer makes nothing of an empty one
NO_TEXT = "-"


class TextFile:
    """The texts of a table that `write_texts` wrote; pickled as its path.

    Looks up each row in its own record batch: Arrow's `take` would join all batches first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._batches: list[pa.Array] | None = None
        self._starts: I64 = np.empty(0, dtype=np.int64)

    def texts(self, rows: I64) -> list[str]:
        """Texts of the `rows` int64 [B]; NO_TEXT where a row is negative."""
        if self._batches is None:
            column = pa.ipc.open_file(pa.memory_map(str(self.path))).read_all().column("text")
            self._batches = column.chunks
            sizes = np.array([len(chunk) for chunk in self._batches], dtype=np.int64)
            self._starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        # the last of equal starts: an empty batch holds no row
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        places = rows - self._starts[np.maximum(numbers, 0)]
        return [
            NO_TEXT if row < 0 else self._batches[number][place].as_py()
            for row, number, place in zip(
                rows.tolist(), numbers.tolist(), places.tolist(), strict=True
            )
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_batches": None, "_starts": np.empty(0, dtype=np.int64)}


class JoinedTexts:
    """The texts of one file, and behind its `size` rows those of another."""

    def __init__(self, first: Texts, size: int, second: Texts) -> None:
        self.first = first
        self.size = size
        self.second = second

    def texts(self, rows: I64) -> list[str]:
        """Texts of the `rows` int64 [B]; NO_TEXT where a row is negative."""
        behind = rows >= self.size
        ones = self.first.texts(np.where(behind, -1, rows))
        others = self.second.texts(np.where(behind, rows - self.size, -1))
        return [b if later else a for a, b, later in zip(ones, others, behind, strict=True)]

"""stub until helper lands"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from ..core.config import Section
from ..core.encoder import F32
from ..core.ids import I64
from ..core.tables import TextTable


class LexicalConfig(Section):
    backend: Literal["bm25s", "lucene"] = "bm25s"


class LexicalIndex(Protocol):
    def __len__(self) -> int: ...
    def search(self, texts: Sequence[str], k: int) -> tuple[I64, F32]: ...
    def memory_bytes(self, batch: int, k: int) -> int: ...


def open_lexical(
    config: LexicalConfig, table: TextTable, cache: Path, threads: int
) -> LexicalIndex:
    raise ValueError

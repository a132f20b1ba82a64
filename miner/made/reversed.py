"""The dataset turned around: documents ask, queries are found. For queries made for documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from ...core.ids import I64
from ...core.store import atomic_write
from ...core.tables import TextTable
from .asked import Anchors

REVERSED = "reversed"
FILES = tuple(f"{REVERSED}/{name}" for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"))
_BLOCK = 8192


def write_reversed(folder: Path, anchors: Anchors) -> None:
    """A BEIR folder whose queries are the anchors' documents and whose corpus their queries.

    It holds no query but those of the anchors, so nothing of another split.
    """
    corpus, queries, qrels = (folder / name for name in FILES)
    with atomic_write(corpus) as handle:
        _write_texts(handle, anchors.others, np.unique(anchors.positives))
    with atomic_write(queries) as handle:
        _write_texts(handle, anchors.table, anchors.rows)
    with atomic_write(qrels) as handle:
        handle.write(b"query-id\tcorpus-id\tscore\n")
        for line in _judgements(anchors):
            handle.write(line.encode())


def _write_texts(handle: IO[bytes], table: TextTable, rows: I64) -> None:
    for start in range(0, rows.size, _BLOCK):
        some = rows[start : start + _BLOCK]
        for name, text in zip(table.id_strings(some), table.texts(some), strict=True):
            line = json.dumps({"_id": name, "text": text}, ensure_ascii=False) + "\n"
            handle.write(line.encode())


def _judgements(anchors: Anchors) -> Iterator[str]:
    names = anchors.table.id_strings(anchors.rows)
    for at, name in enumerate(names):
        mine = anchors.positives[anchors.starts[at] : anchors.starts[at + 1]]
        for other in anchors.others.id_strings(mine):
            yield f"{name}\t{other}\t1\n"

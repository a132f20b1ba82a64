"""A smaller BEIR folder that is still hard: judged documents and what BM25 ranks best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrite.core.ids import I64
    from pyrite.eval.search import Searched


def sub_corpus(beir: Path, home: Path, depth: int, queries: int, cache: Path) -> Path:
    """The test split of `beir` on a part of its corpus, as a BEIR folder below `home`.

    The first `queries` test queries by id (0: all), every document judged for one of them, and the
    best `depth` of each by BM25; nothing is random. Made once.
    """
    from pyrite import EvalConfig
    from pyrite.core.config import parse_config
    from pyrite.core.digest import digest_array, digest_json
    from pyrite.core.store import Manifest, discard
    from pyrite.eval.search import search_held_out

    config = parse_config(
        EvalConfig,
        {
            "cache_dir": str(cache),
            "dataset": {"path": str(beir), "on_empty": "drop"},
            "eval": {"measures": ["ndcg@10"], "source": {"kind": "bm25s"}},
        },
    )
    found = search_held_out(config, None, depth)
    chosen = found.inputs.rows[: queries or None]
    digests = [digest_array(a) for a in (found.qrels.docs, found.qrels.grades, found.qrels.indptr)]
    texts = [found.inputs.corpus.digest, found.inputs.queries.digest]
    key = digest_json([1, texts, digests, depth, queries])
    folder = home / f"{beir.name}-{key[:12]}"
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.intact(folder):
        discard(folder)
        _write(folder, found, chosen, depth)
        Manifest.write(folder, schema=1, kind="sub-corpus", key=key)
    return folder


def _write(folder: Path, found: Searched, chosen: I64, depth: int) -> None:
    qrels, inputs = found.qrels, found.inputs
    judged = [slice(int(qrels.indptr[row]), int(qrels.indptr[row + 1])) for row in chosen]
    best = found.ids[: chosen.size, :depth]
    kept = np.unique(np.concatenate([best[best >= 0], *(qrels.docs[part] for part in judged)]))
    _write_lines(folder / "corpus.jsonl", _texts(inputs.corpus, kept))
    _write_lines(folder / "queries.jsonl", _texts(inputs.queries, chosen))
    lines = ["query-id\tcorpus-id\tscore"]
    for query, part in zip(inputs.queries.id_strings(chosen), judged, strict=True):
        docs = inputs.corpus.id_strings(qrels.docs[part])
        grades = qrels.grades[part].tolist()
        lines += [f"{query}\t{doc}\t{grade}" for doc, grade in zip(docs, grades, strict=True)]
    _write_lines(folder / "qrels" / "test.tsv", lines)


def _texts(table: Any, rows: I64) -> list[str]:
    pairs = zip(table.id_strings(rows), table.texts(rows), strict=True)
    return [json.dumps({"_id": id_, "text": text}) for id_, text in pairs]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    from pyrite.core.store import write_bytes

    write_bytes(path, ("\n".join(lines) + "\n").encode())

"""Mistakes in the sources of candidates, for `mistakes.CASES`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mistake_case import Case, put


def source_cases() -> dict[str, Case]:
    def source(fields: str, *says: str, spoil: Callable[[Path], object] | None = None) -> Case:
        return Case(says, (f"retrieve.sources=[{{{fields}}}]",), spoil)

    run = "kind: run, path: TMP/x.run"
    return {
        "no sources": Case(("retrieve.sources=[]", "at least 1"), ("retrieve.sources=[]",)),
        "unknown source": source("kind: nope", "retrieve.sources.0.kind='nope'", "'bm25s'"),
        "unknown key of a source": source("kid: run", "unknown key 'retrieve.sources.0.kid'"),
        "words of a positive": source("kind: bm25s, query: positive", "kind dense", "query=query"),
        "evaluation with positives": Case(
            ("'dense'", "query=positive", "set query=query"),
            ("eval.source.query=positive",),
            verb="eval",
        ),
        "run without path": source("kind: run", "retrieve.sources.0", "needs a path"),
        "no such run": source(run, "TMP/x.run", "no such run file"),
        "run malformed": source(run, "TMP/x.run:1", "2 fields", "6", spoil=put("x.run", "a b\n")),
        "unknown factory": source(
            "index: {backend: faiss, factory: XYZ}",
            "retrieve.sources[0].index.factory='XYZ'",
            "IVF1024",
        ),
        "unknown factory of the second source": Case(
            ("retrieve.sources[1].index.factory='XYZ'",),
            (
                "retrieve.sources=[{kind: bm25s},"
                " {kind: dense, index: {backend: faiss, factory: XYZ}}]",
            ),
        ),
        "unknown factory to evaluate": Case(
            ("eval.source.index.factory='XYZ'",),
            ("eval.source.index={backend: faiss, factory: XYZ}",),
            verb="eval",
        ),
        "a parameter of no such index": source(
            "index: {backend: faiss, factory: HNSW4, nprobe: 2}",
            "'nprobe=2'",
            "change retrieve.sources[0].index.factory",
        ),
        "too little recall": source(
            "index: {backend: faiss, factory: 'IVF8,Flat', min_recall: 1, rescore: 1}",
            "retrieve.sources[0].index.min_recall=1.0",
            "raise retrieve.sources[0].index.nprobe",
        ),
        "no such retriever": Case(("'nope'", "'bm25s'"), ("retriever=nope",), verb="eval"),
    }

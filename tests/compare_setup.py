"""Finished evaluations of rankings that a test writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pyrite.core.config import parse_config
from pyrite.eval.config import EvalConfig
from pyrite.eval.evaluate import evaluate

Ranked = Mapping[str, Sequence[str]]
MEASURES = ("ndcg@10", "mrr@10")


def evaluated(
    folder: Path,
    data: Path,
    name: str,
    ranked: Ranked,
    measures: Sequence[str] = MEASURES,
    convention: str = "pyrite",
    identical_ids: str = "auto",
) -> Path:
    """Evaluate the documents of each query, best first; the run folder below `folder`."""
    path = folder / f"{name}.trec"
    lines = [
        f"{query} Q0 {doc} {rank} {100 - rank} t\n"
        for query, documents in ranked.items()
        for rank, doc in enumerate(documents, start=1)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    settings = {
        "name": name,
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "eval": {
            "measures": list(measures),
            "source": {"kind": "run", "path": str(path)},
            "convention": convention,
            "identical_ids": identical_ids,
        },
    }
    evaluate(parse_config(EvalConfig, settings))
    return folder / "runs" / name

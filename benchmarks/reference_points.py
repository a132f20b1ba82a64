"""nDCG@10 of BM25 and MiniLM on a whole BEIR folder, beside what is published of it."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from common import hardware
from rich.table import Table

from pyrite import EvalConfig, evaluate
from pyrite.core.config import parse_config
from pyrite.core.errors import MissingExtraError
from pyrite.core.store import versions

SPLIT, MAIN = "test", "ndcg@10"
THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
SOURCES = {"bm25s": "bm25s", "lucene": "lucene", "minilm": "dense"}
# least and greatest; of BM25 only Lucene's is published, k1 = 0.9, b = 0.4
PUBLISHED = {
    "scifact": {"bm25s": (0.679, 0.679), "lucene": (0.679, 0.679), "minilm": (0.645, 0.649)}
}


def settings(home: Path, data: Path, max_length: int, section: dict[str, Any]) -> EvalConfig:
    """MiniLM on the test split of `data`; `section` is the section `eval`."""
    given = {
        "runs_dir": str(home),
        "cache_dir": str(home / "cache"),
        "threads": THREADS,
        "dataset": {"path": str(data), "eval_split": SPLIT, "on_empty": "drop"},
        "encoder": {"max_length": max_length},
        "eval": section,
    }
    return parse_config(EvalConfig, given)


def difference(value: float, least: float, greatest: float) -> float:
    """How far a value is outside of what is published; 0 inside."""
    return value - min(max(value, least), greatest)


def reference(data: Path, home: Path, max_length: int, known: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 of each retriever on the whole folder, beside what is published."""
    rows, missing = [], {}
    for name, kind in SOURCES.items():
        section = {"measures": [MAIN], "source": {"kind": kind}}
        try:
            found = evaluate(settings(home, data, max_length, section))
        except MissingExtraError as error:
            missing[name] = str(error)
            continue
        one = {"system": name, MAIN: found.means()[MAIN], "queries": len(found.query_ids)}
        if name in known:
            one |= {"published": known[name], "difference": difference(one[MAIN], *known[name])}
        rows.append(one)
    return {
        "dataset": data.name,
        "split": SPLIT,
        "max_length": max_length,
        "date": datetime.date.today().isoformat(),
        "hardware": hardware(),
        "versions": versions(),
        "rows": rows,
        "not_measured": missing,
    }


def table(found: dict[str, Any]) -> Table:
    """The reference points as they are printed."""
    title = f"{found['dataset']}, {found['split']}, {found['date']}, {found['hardware']}"
    shown = Table(title=title, title_justify="left")
    for heading in ("system", MAIN, "published", "difference"):
        shown.add_column(heading, justify="left" if heading == "system" else "right")
    for row in found["rows"]:
        least, greatest = row.get("published", (None, None))
        published = "-" if least is None else f"{least:.3f}"
        published += f"-{greatest:.3f}" if greatest != least else ""
        away = f"{row['difference']:+.4f}" if "difference" in row else "-"
        shown.add_row(row["system"], f"{row[MAIN]:.4f}", published, away)
    for system in found["not_measured"]:
        shown.add_row(system, "-", "-", "-")
    return shown

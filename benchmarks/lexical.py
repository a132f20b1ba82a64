"""BM25 on a BEIR folder: seconds to build, queries per second, quality, for each backend.

    python benchmarks/lexical.py --data PATH

Lucene is measured if the extra `lucene` is installed. Every index is built in a temporary folder.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pyrite.core.beir import Dataset, open_beir
from pyrite.core.errors import MissingExtraError
from pyrite.core.store import versions, write_json
from pyrite.eval.measures import per_query
from pyrite.indexes.lexical import LexicalConfig, open_lexical

RESULTS = Path(__file__).parent / "results"
MEASURES = ("ndcg@10", "recall@100")
DEPTH = 100
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a BEIR folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/lexical-NAME.json")
    options = parser.parse_args()
    console = Console()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as cache:
        dataset = open_beir(options.data, Path(cache))
        for config in (LexicalConfig(), LexicalConfig(backend="lucene")):
            try:
                rows += measure(config, dataset, options.split, options.threads, Path(cache))
            except MissingExtraError as error:
                console.print(f"{config.backend} not measured: {error}")
    data = {
        "dataset": options.data.name,
        "split": options.split,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware(),
        "versions": versions(),
        "rows": rows,
    }
    write_json(options.out or RESULTS / f"lexical-{options.data.name}.json", data)
    console.print(table(rows))


def measure(
    config: LexicalConfig, dataset: Dataset, split: str, threads: int, cache: Path
) -> list[dict[str, Any]]:
    """Rows of one backend; the first, cold search is not timed, the best of five later ones is."""
    start = time.perf_counter()
    index = open_lexical(config, dataset.corpus, cache, threads)
    built = time.perf_counter() - start
    start = time.perf_counter()
    open_lexical(config, dataset.corpus, cache, threads)
    opened = time.perf_counter() - start

    qrels = dataset.qrels(split)
    query_rows = qrels.with_positives()
    texts = dataset.queries.texts(query_rows)
    depth = min(DEPTH, len(index))
    ids, _ = index.search(texts, depth)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        index.search(texts, depth)
        seconds.append(time.perf_counter() - start)
    values = per_query(MEASURES, qrels, query_rows, ids)
    sizes = {"documents": len(index), "queries": len(texts), "k": depth}
    settings = config.model_dump(mode="json")
    found = [
        ("index build", built, "s"),
        ("index open", opened, "s"),
        ("search", len(texts) / min(seconds), "queries/s"),
        *((name, float(of_query.mean()), "mean over queries") for name, of_query in values.items()),
    ]
    return [
        {"name": name, "value": value, "unit": unit, "sizes": sizes, "settings": settings}
        for name, value, unit in found
    ]


def hardware() -> dict[str, Any]:
    """The machine in words."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpu": cpu, "cores": os.cpu_count(), "gpu": "not used"}


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows as they are printed."""
    shown = Table(title="BM25", caption="search: best of five, warm")
    for heading in ("backend", "what", "value", "unit", "documents", "queries"):
        shown.add_column(heading, justify="right" if heading == "value" else "left")
    for row in rows:
        sizes = row["sizes"]
        shown.add_row(
            row["settings"]["backend"],
            row["name"],
            f"{row['value']:.4g}",
            row["unit"],
            str(sizes["documents"]),
            str(sizes["queries"]),
        )
    return shown


if __name__ == "__main__":
    main()

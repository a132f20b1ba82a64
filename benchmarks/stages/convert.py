"""Converting training rows, beside a loop over lines and the `datasets` library."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from common import Reading, measured
from stage import Stage

from stages.rows import FILE, NEGATIVES, WORDS, write_rows


def ours(folder: Path, size: int) -> Reading:
    from pyrite import convert

    warm = folder / "warm.jsonl"
    with (folder / FILE).open(encoding="utf-8") as handle:
        warm.write_text(handle.readline(), encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=folder) as out:
        convert(warm, Path(out) / "warm.jsonl", "flag")
        with measured() as reading:
            convert(folder / FILE, Path(out) / "out.jsonl", "flag")
    return reading


def regrouped(row: dict[str, Any]) -> dict[str, Any]:
    """FlagEmbedding's record of a row of columns."""
    negatives = [row[f"negative_{i + 1}"] for i in range(NEGATIVES)]
    return {"query": row["query"], "pos": [row["positive"]], "neg": negatives}


def loop(folder: Path, size: int) -> Reading:
    with tempfile.TemporaryDirectory(dir=folder) as out, measured() as reading:
        lines = (folder / FILE).open(encoding="utf-8")
        with lines, (Path(out) / "out.jsonl").open("w", encoding="utf-8") as written:
            for line in lines:
                written.write(json.dumps(regrouped(json.loads(line)), ensure_ascii=False) + "\n")
    return reading


def by_datasets(folder: Path, size: int) -> Reading:
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(dir=folder) as out, measured() as reading:
        rows = datasets.load_dataset(
            "json", data_files=str(folder / FILE), split="train", cache_dir=f"{out}/cache"
        )
        made = rows.map(regrouped, remove_columns=rows.column_names)
        made.to_json(f"{out}/out.jsonl", force_ascii=False)
    return reading


STAGE = Stage(
    "convert training rows",
    "rows",
    f"{NEGATIVES} negatives, {WORDS} words a text; sentence-transformers' columns to FlagEmbedding;"
    " ours checks every row and syncs the file, the loop does neither",
    (15_000, 30_000, 60_000),
    (500, 1000, 2000),
    write_rows,
    {"pyrite": ours, "datasets map": by_datasets, "json loop": loop},
    frozenset({"json loop"}),
)

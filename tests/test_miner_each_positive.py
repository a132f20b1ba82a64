"""`filters.positive_score: each`: a row of negatives for every positive of a query."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, toy_dataset

from pyrite.core.candidates import STRUCTURAL
from pyrite.core.config import parse_config
from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.run import prepare_mining
from pyrite.indexes.retrieve import retrieve
from pyrite.indexes.sources import SearchInputs
from pyrite.miner.choose import reasons_of
from pyrite.miner.filters import FilterConfig
from pyrite.miner.mine import MineConfig, context_of, mine
from pyrite.miner.negatives_file import FILE, read_negatives

MARGIN = 0.02


def settings(folder: Path, data: Path, **changes: Any) -> MineConfig:
    sections: dict[str, Any] = {
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "threads": 1,
        "dataset": {"path": str(data)},
        "retrieve": {"depth": 60},
        "filters": {"percent": None, "margin": MARGIN, "positive_score": "each"},
        "sampler": {"name": "topk", "n": 4},
    }
    return parse_config(MineConfig, {**sections, **changes})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / FILE).to_pylist())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_dataset(tmp_path_factory.mktemp("each") / "toy")


def test_each_positive_has_the_negatives_below_its_own_ceiling(tmp_path: Path, data: Path) -> None:
    config = settings(tmp_path, data)
    found = rows_of(mine(config, BagOfWords()).folder)
    prepared = prepare_mining(config, BagOfWords())
    candidates = retrieve(
        SearchInputs.of(prepared), config.retrieve, config.cache, 1
    ).candidates.block(0, prepared.queries.rows.size)
    nothing = FilterConfig(percent=None)
    some = np.zeros(candidates.query_rows.size, dtype=np.float32)
    structural = reasons_of(candidates, some, context_of(config, prepared), nothing)
    names = prepared.dataset.corpus.id_strings
    wanted: list[tuple[str, str, list[str]]] = []
    for place, row in enumerate(candidates.query_rows):
        [query] = prepared.dataset.queries.id_strings(np.array([row]))
        for positive in sorted(names(prepared.qrels.positives(int(row)))):
            [doc] = prepared.dataset.corpus.ids.find([positive])
            pair = prepared.queries.embeddings.take(np.array([place]))[0].astype(np.float64)
            score = np.float32(pair @ prepared.corpus.take(np.array([doc]))[0].astype(np.float64))
            ceiling = np.float32(np.float64(score) - MARGIN)
            keep = [
                int(c)
                for c, s, r in zip(
                    candidates.ids[place], candidates.scores[place], structural[place], strict=True
                )
                if s < ceiling and not r & int(STRUCTURAL)
            ]
            wanted.append((query, positive, names(np.array(keep[:4], dtype=np.int64))))
    assert [(r["query_id"], r["positive_id"], r["negative_ids"]) for r in found] == wanted
    assert len(wanted) > prepared.queries.rows.size


def test_one_positive_alone_is_min(tmp_path: Path, data: Path) -> None:
    each = {r["query_id"]: r for r in rows_of(mine(settings(tmp_path, data), BagOfWords()).folder)}
    changed = settings(tmp_path, data, name="min", filters={"percent": None, "margin": MARGIN})
    least = rows_of(mine(changed, BagOfWords()).folder)
    counts = {r["query_id"]: 0 for r in least}
    for line in (data / "qrels" / "train.tsv").read_text("utf-8").splitlines()[1:]:
        counts[line.split("\t")[0]] += 1
    alone = [r for r in least if counts[r["query_id"]] == 1]
    assert alone
    for row in alone:
        assert row["positive_id"] is None
        assert {**each[row["query_id"]], "positive_id": None} == row


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "simans", "n": 4},
        {"name": "simans", "n": 4, "max_uses": 3},
        {"name": "random", "n": 4},
        {"mix": [{"name": "topk", "n": 2}, {"name": "random", "n": 1}], "on_short": ["drop_query"]},
    ],
    ids=str,
)
def test_neither_blocks_nor_the_order_of_the_files_change_a_byte(
    tmp_path: Path, data: Path, sampler: dict[str, Any]
) -> None:
    shuffled = tmp_path / "shuffled"
    (shuffled / "qrels").mkdir(parents=True)
    shuffle = random.Random(1)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        lines = (data / name).read_text("utf-8").splitlines()
        head, body = (lines[:1], lines[1:]) if name.endswith("tsv") else ([], lines)
        shuffle.shuffle(body)
        (shuffled / name).write_text("\n".join([*head, *body]) + "\n")
    whole = mine(settings(tmp_path, data, sampler=sampler), BagOfWords()).folder
    parts = settings(tmp_path, shuffled, name="parts", sampler=sampler, block_queries=7)
    cut = mine(parts, BagOfWords()).folder
    assert (whole / FILE).read_bytes() == (cut / FILE).read_bytes()
    rows = rows_of(whole)
    assert all(r["positive_id"] not in r["negative_ids"] for r in rows)
    if sampler.get("max_uses"):
        used = [d for r in rows for d in r["negative_ids"]]
        assert max(used.count(d) for d in set(used)) == 3


def test_the_rows_are_read_back_with_their_positives(tmp_path: Path, data: Path) -> None:
    config = settings(tmp_path, data)
    folder = mine(config, BagOfWords()).folder
    dataset = open_dataset(DatasetConfig(path=str(data)), config.cache)
    rows = read_negatives(folder / FILE, dataset.queries, dataset.corpus, 4)
    assert rows.positive_rows is not None
    wanted = [(r["query_id"], r["positive_id"]) for r in rows_of(folder)]
    queries = dataset.queries.id_strings(rows.query_rows)
    assert list(zip(queries, dataset.corpus.id_strings(rows.positive_rows), strict=True)) == wanted
    counts = json.loads((folder / "manifest.json").read_text("utf-8"))["counts"]
    assert counts["queries"] == len(wanted)

"""Judged pairs and sets that an evaluation shares with what is trained on, and runs' own counts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_files import flag, found, places, write
from fakes import BagOfWords, toy_dataset, write_dataset
from spoilt_rows import spoilt
from training_dialects import CLEAN, DIALECTS, Dialect, Ids, Row

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.miner.audit import audit
from pyrite.miner.audit_checks import Check
from pyrite.miner.formats.sources import Sources
from pyrite.miner.mine import MineConfig, mine
from pyrite.miner.training_file import open_training_file

TEN = "one two three four five six seven eight nine ten"
CORPUS = {"d1": "the first answer", "d2": "the second answer", "d3": "judged as bad"}
QUERIES = {"t1": "What is RED", "t2": TEN, "other": "never tested"}
TEST = [("t1", "d1", 1), ("t1", "d3", 0), ("t2", "d2", 2)]
Judged = Mapping[str, Sequence[tuple[str, str, int]]]


def jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def parquet(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path)


def hub(
    folder: Path, corpus: Mapping[str, str], queries: Mapping[str, str], qrels: Judged, how: str
) -> Path:
    """The same set as MTEB (parquet in shards), MTEB with a prefix (JSON lines) and NanoBEIR."""
    lead = "X-" if how == "prefix" else ""
    put, suffix = (jsonl, "jsonl") if how == "prefix" else (parquet, "parquet")
    tables = {
        "corpus": [{"_id": i, "title": "", "text": t} for i, t in corpus.items()],
        "queries": [{"_id": i, "text": t} for i, t in queries.items()],
    }
    for name, rows in tables.items():
        for at, part in enumerate((rows[:1], rows[1:])):
            put(folder / f"{lead}{name}" / f"{name}-{at:05d}-of-00002.{suffix}", part)
    home = {"default": "default", "prefix": "X-qrels", "nano": "qrels"}[how]
    for split, judged in qrels.items():
        records = [
            {"query-id": q, "corpus-id": d} | ({} if how == "nano" else {"score": g})
            for q, d, g in judged
            if g or how != "nano"
        ]
        put(folder / home / f"{split}-00000-of-00001.{suffix}", records)
    return folder


def sets(kind: str) -> Callable[..., Path]:
    if kind == "beir":
        return write_dataset
    return lambda folder, corpus, queries, qrels: hub(folder, corpus, queries, qrels, kind)


each_kind = pytest.mark.parametrize("kind", ["beir", "default", "prefix", "nano"])


@each_kind
def test_pairs_of_the_test_split_are_counted(tmp_path: Path, kind: str) -> None:
    data = sets(kind)(tmp_path / "held", CORPUS, QUERIES, {"test": TEST})
    path = write(
        tmp_path,
        flag("what is  red", ["The first  ANSWER", "the second answer"], ["x y"]),
        flag(f"well {TEN}", ["the second answer"], ["x y"]),
        flag("what is red", ["judged as bad"], ["x y"]),
        flag("what is red", ["reworded"], ["x y"], pos_id=["d1"]),
        flag("never tested", ["the first answer"], ["x y"], pos_id=["d1"]),
        flag("unheard of", ["the first answer"], ["x y"]),
    )
    result = audit(path, against=data)
    assert found(result) == {"TEST_QUERY": 4, "TEST_PAIR": 2, "NEAR_TEST_PAIR": 1}
    assert places(result, Check.TEST_PAIR) == [(1, "positive 1"), (4, "positive 1")]
    assert places(result, Check.NEAR_TEST_PAIR) == [(2, "positive 1")]
    assert not result.passes()
    assert found(audit(path)) == {}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_a_pair_is_found_in_every_format(tmp_path: Path, dialect: Any) -> None:
    path, sources = dialect.put(tmp_path, CLEAN)
    corpus = {"d1": CLEAN[0].positive, "d2": CLEAN[1].positive}
    queries = {"t": CLEAN[0].query.upper(), "u": CLEAN[2].query}
    judged = {"test": [("t", "d1", 1), ("t", "d2", 1), ("u", "d2", 1)]}
    data = write_dataset(tmp_path / "held", corpus, queries, judged)
    result = audit(path, sources=sources, against=data)
    assert found(result) == {"TEST_QUERY": 2, "TEST_PAIR": 1}


def test_a_title_does_not_hide_a_pair(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "held", CORPUS, QUERIES, {"test": TEST})
    jsonl(
        data / "corpus.jsonl",
        [{"_id": i, "title": "Title", "text": t} for i, t in CORPUS.items()],
    )
    asked = [["the first answer"], ["title the first answer"], ["title"]]
    path = write(tmp_path, *(flag("what is red", pos, ["x y"]) for pos in asked))
    assert found(audit(path, against=data)) == {"TEST_QUERY": 3, "TEST_PAIR": 2}


def test_without_texts_pairs_are_compared_by_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_dataset(tmp_path / "held", CORPUS, QUERIES, {"test": TEST})
    (data / "corpus.jsonl").unlink()
    path = write(
        tmp_path,
        flag("what is red", ["the first answer"], ["x y"]),
        flag("what is red", ["whatever"], ["x y"], pos_id=["d1"]),
    )
    with caplog.at_level(logging.WARNING):
        result = audit(path, against=data)
    assert places(result, Check.TEST_PAIR) == [(2, "positive 1")]
    assert "2 of 2 judged documents have no text" in caplog.text


# sets by themselves


@each_kind
def test_a_set_is_audited_in_each_layout(tmp_path: Path, kind: str) -> None:
    made = sets(kind)(tmp_path / "set", CORPUS, QUERIES, {"train": TEST})
    result = audit(made)
    assert (result.format, found(result)) == ("BEIR" if kind == "beir" else "MTEB", {})
    bad = 0 if kind == "nano" else 1
    assert (result.rows, result.positives, result.negatives) == (3, 2, bad)


@each_kind
def test_training_pairs_of_a_set_are_compared(tmp_path: Path, kind: str) -> None:
    held = write_dataset(tmp_path / "held", CORPUS, QUERIES, {"test": TEST})
    corpus = {"a": "the FIRST answer", "b": "the second answer", "c": "new"}
    queries = {"1": "what is red", "2": f"well {TEN}", "3": "of its own"}
    train = [("1", "a", 1), ("1", "b", 1), ("2", "b", 1), ("3", "a", 1), ("1", "c", 1)]
    made = sets(kind)(tmp_path / "set", corpus, queries, {"train": train})
    result = audit(made, against=held)
    assert found(result) == {"TEST_QUERY": 2, "TEST_PAIR": 1, "NEAR_TEST_PAIR": 1}


def test_the_evaluation_is_not_compared_with_itself(tmp_path: Path) -> None:
    qrels = {"test": TEST, "train": [("other", "d1", 1), ("t2", "d2", 1)]}
    data = write_dataset(tmp_path / "set", CORPUS, QUERIES, qrels)
    result = audit(data, against=data)
    assert places(result, Check.TEST_PAIR) == [(3, "qrels/train.tsv")]


def test_a_folder_of_several_sets_is_refused(tmp_path: Path) -> None:
    for name in ("X", "Y"):
        jsonl(tmp_path / f"{name}-corpus" / "a.jsonl", [{"_id": "1", "text": "a"}])
    with pytest.raises(PyriteError, match="several sets, X-corpus, Y-corpus; put the one"):
        audit(tmp_path)


# jansowa's tables


def _jansowa(folder: Path, rows: Sequence[Row], ids: Ids) -> Path:
    records = [
        {"query_id": at, "document_id": ids(t), "retrieval_score": s, "retrieval_rank": i}
        for at, row in enumerate(rows, start=1)
        for i, (t, s) in enumerate(zip(row.negatives, row.neg_scores(), strict=True), start=1)
    ]
    pq.write_table(pa.Table.from_pylist(records), folder / "train.parquet")
    return folder / "train.parquet"


PARQUET = Dialect("jansowa", _jansowa, ids=True)


def test_jansowa_is_read_from_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    parquet(folder / "corpus.parquet", [{"id": i, "text": t} for i, t in CORPUS.items()])
    parquet(folder / "queries" / "a.parquet", [{"id": 1, "text": "what is red"}])
    parquet(folder / "relevant.parquet", [{"query_id": 1, "document_id": "d1"}])
    rows = [{"query_id": 1, "document_id": d, "retrieval_score": 0.5} for d in ("d2", "d1")]
    parquet(folder / "negatives.parquet", rows)
    sources = Sources(cache=tmp_path / "cache")
    result = audit(folder, sources=sources, fix=tmp_path / "out.parquet")
    assert (result.format, found(result)) == ("jansowa", {"OWN_POSITIVE": 1})
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == rows[:1]


def test_faults_in_jansowas_table_are_found(tmp_path: Path) -> None:
    for at, (_, rows, expected) in enumerate([("clean", CLEAN, {}), *spoilt(PARQUET)]):
        folder = tmp_path / str(at)
        folder.mkdir()
        path, sources = PARQUET.put(folder, rows)
        assert open_training_file(path, sources).format.name == "jansowa"
        assert found(audit(path, sources=sources)) == expected


# a run's own counts


def test_rows_without_negatives_must_be_those_of_the_manifest(tmp_path: Path) -> None:
    config = {
        "name": "toy",
        "runs_dir": str(tmp_path / "runs"),
        "cache_dir": str(tmp_path / "cache"),
        "threads": 1,
        "dataset": {"path": str(toy_dataset(tmp_path / "data"))},
        "retrieve": {"depth": 10},
        "filters": {"percent": None, "max_score": 0.2},
        "sampler": {"name": "topk", "n": 2},
    }
    mined = mine(parse_config(MineConfig, config), BagOfWords())
    assert audit(mined.folder).counts[Check.NONE_MINED] == 30
    assert Check.MANIFEST not in audit(mined.folder).counts
    config["filters"] = {"percent": None}
    mined = mine(parse_config(MineConfig, config), BagOfWords())
    path = mined.folder / "negatives.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    full = next(row for row in rows if row["negative_ids"])
    lists = [key for key, value in full.items() if isinstance(value, list)]
    full.update({key: [] for key in lists})
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    result = audit(mined.folder)
    assert result.counts[Check.MANIFEST] == 1
    assert not result.passes()
    empty = sum(not row["negative_ids"] for row in rows)
    [(_, where)] = places(result, Check.MANIFEST)
    assert where == f"manifest.json counts {empty - 1}, the file has {empty}"

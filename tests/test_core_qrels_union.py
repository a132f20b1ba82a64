from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, toy_dataset, write_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrite.core.beir import Dataset, open_beir
from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.qrels_union import unite_qrels
from pyrite.core.run import open_queries
from pyrite.eval.config import EvalConfig
from pyrite.eval.evaluate import evaluate
from pyrite.miner.mine import MineConfig, mine

Judged = list[tuple[str, str, int]]
QUERIES, DOCS = [f"q{i}" for i in range(4)], [f"d{i}" for i in range(5)]


def write_tsv(path: Path, rows: Judged) -> str:
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def folder_of(folder: Path, split: Judged) -> Dataset:
    data = write_dataset(
        folder / "data",
        {d: f"document {d}" for d in DOCS},
        {q: f"query {q}" for q in QUERIES},
        {"train": split},
    )
    return open_beir(data, folder / "cache")


def union_oracle(split: Judged, files: list[Judged], min_grade: int) -> dict[str, dict[str, int]]:
    mined = {q for q, _, grade in split if grade >= min_grade}
    out: dict[str, dict[str, int]] = {}
    for number, rows in enumerate([split, *files]):
        for query, doc, grade in rows:
            if number == 0 or query in mined:
                known = out.setdefault(query, {})
                known[doc] = max(grade, known.get(doc, grade))
    return out


# the first judgement of each file is a positive: a file without one is an error
ROWS = st.lists(
    st.tuples(st.sampled_from(QUERIES), st.sampled_from(DOCS), st.integers(-1, 3)), max_size=12
).map(lambda rows: [("q0", "d0", 2), *rows])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS, st.lists(ROWS, max_size=3), st.integers(1, 2))
def test_the_union_equals_a_plain_loop(
    tmp_path: Path, split: Judged, files: list[Judged], min_grade: int
) -> None:
    dataset = folder_of(tmp_path, split)
    paths = [write_tsv(tmp_path / f"{n}.tsv", rows) for n, rows in enumerate(files)]
    found = unite_qrels(dataset.qrels("train", min_grade), paths, dataset)
    expected = union_oracle(split, files, min_grade)
    assert found.min_grade == min_grade
    for row, query in enumerate(QUERIES):
        part = slice(int(found.indptr[row]), int(found.indptr[row + 1]))
        names = [DOCS[i] for i in found.docs[part]]
        grades = dict(zip(names, found.grades[part].tolist(), strict=True))
        assert grades == expected.get(query, {})
        assert names == sorted(names)
    turned = unite_qrels(dataset.qrels("train", min_grade), paths[::-1], dataset)
    for name in ("indptr", "docs", "grades"):
        assert np.array_equal(getattr(found, name), getattr(turned, name))


def test_what_a_file_adds_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = folder_of(tmp_path, [("q0", "d0", 1), ("q0", "d1", 0), ("q1", "d4", 0)])
    more = [("q0", "d0", 3), ("q0", "d1", 1), ("q0", "d2", 1), ("q0", "d3", 0), ("q1", "d1", 1)]
    path = write_tsv(tmp_path / "more.tsv", more)
    with caplog.at_level(logging.INFO, logger="pyrite"):
        found = unite_qrels(dataset.qrels("train"), [path], dataset)
    assert caplog.messages == [
        f"{path}: 2 positives added, 1 known before; 1 judgements of other queries passed over"
    ]
    assert found.positives(0).tolist() == [0, 1, 2]
    assert found.with_positives().tolist() == [0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("q0", "d0", 1), ("q9", "d0", 1)], ":3: unknown queries id 'q9'"),
        ([("q0", "d9", 1)], ":2: unknown corpus id 'd9'"),
        ([("q0", "d0", 0)], ": no query has a positive"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, rows: Judged, message: str) -> None:
    dataset = folder_of(tmp_path, [("q0", "d0", 1)])
    path = write_tsv(tmp_path / "more.tsv", rows)
    with pytest.raises(PyriteError) as failure:
        unite_qrels(dataset.qrels("train"), [path], dataset)
    assert str(failure.value).startswith(path + message)


def test_a_missing_file_is_named_with_its_key(tmp_path: Path) -> None:
    dataset = folder_of(tmp_path, [("q0", "d0", 1)])
    with pytest.raises(PyriteError, match=r"nowhere\.tsv: no such file .* dataset\.qrels"):
        unite_qrels(dataset.qrels("train"), [str(tmp_path / "nowhere.tsv")], dataset)


def sections(folder: Path, data: Path, more: list[str]) -> dict[str, Any]:
    return {
        "name": f"with-{len(more)}",
        "runs_dir": str(folder / "runs"),
        "cache_dir": str(folder / "cache"),
        "dataset": {"path": str(data), "qrels": more},
    }


def negatives_of(config: MineConfig) -> dict[str, tuple[list[str], float]]:
    folder = mine(config, BagOfWords()).folder
    rows = pq.read_table(folder / "negatives.parquet").to_pylist()
    return {r["query_id"]: (r["negative_ids"], r["pos_score"]) for r in rows}


def mining(folder: Path, data: Path, more: list[str]) -> MineConfig:
    rest = {
        "filters": {"positive_score": "max"},
        "sampler": {"name": "topk", "n": 3},
        "retrieve": {"depth": 60},
    }
    return parse_config(MineConfig, {**sections(folder, data, more), **rest})


def test_mining_leaves_out_what_the_other_file_calls_positive(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "data")
    before = negatives_of(mining(tmp_path, data, []))
    extra = [(query, docs[0], 1) for query, (docs, _) in sorted(before.items())]
    # q0000 is held out: its judgements may not bring it into the mined queries
    path = write_tsv(tmp_path / "more.tsv", [*extra, ("q0000", "d0003", 1)])
    after = negatives_of(mining(tmp_path, data, [path]))
    assert after.keys() == before.keys()
    assert "q0000" not in after
    higher = 0
    for query, doc, _ in extra:
        assert doc not in after[query][0]
        assert after[query][1] >= before[query][1]
        higher += after[query][1] > before[query][1]
    assert higher > 0


def test_an_evaluation_stays_on_the_split(tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "data")
    path = write_tsv(tmp_path / "more.tsv", [(f"q{i:04d}", "d0003", 1) for i in range(40)])
    configs = [parse_config(EvalConfig, sections(tmp_path, data, more)) for more in ([], [path])]
    plain, united = (evaluate(config, BagOfWords()).means() for config in configs)
    assert plain == united
    _, alone, rows = open_queries(configs[1], "test")
    _, both, same_rows = open_queries(configs[1], "test", True)
    assert both.docs.size > alone.docs.size
    assert np.array_equal(rows, same_rows)

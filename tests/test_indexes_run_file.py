from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lexical_oracle import text_table

from pyrite.core.candidates import Candidates
from pyrite.core.digest import digest_file
from pyrite.core.errors import PyriteError
from pyrite.core.tables import TextTable
from pyrite.indexes.export import export_candidates
from pyrite.indexes.run_file import RunFile, read_run

QUERIES = ["q2", "q1", "q10", "q\u00e9"]
DOCS = ["d9", "d10", "d1", "d\u00e9", "a"]
Line = tuple[str, str, float]


@pytest.fixture
def queries(tmp_path: Path) -> TextTable:
    return text_table(tmp_path, {i: f"text of {i}" for i in QUERIES})


@pytest.fixture
def corpus(tmp_path: Path) -> TextTable:
    return text_table(tmp_path, {i: f"words of {i}" for i in DOCS})


def trec(path: Path, lines: Sequence[Line]) -> Path:
    rows = [f"{q} Q0 {d} {at} {s!r} tag" for at, (q, d, s) in enumerate(lines)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def parquet(path: Path, lines: Sequence[Line]) -> Path:
    columns = [list(column) for column in zip(*lines, strict=True)] or [[], [], []]
    table = pa.table(dict(zip(("query_id", "doc_id", "score"), columns, strict=True)))
    pq.write_table(table, path)
    return path


def lists_of(run: RunFile) -> dict[str, list[tuple[str, float]]]:
    ids, scores = run.search(np.arange(len(QUERIES)), len(DOCS) + 1)
    return {
        query: [(DOCS[d], float(s)) for d, s in zip(ids[row], scores[row], strict=True) if d >= 0]
        for row, query in enumerate(QUERIES)
    }


LINES: list[Line] = [
    ("q1", "d9", 0.5),
    ("q2", "a", -1.0),
    ("q1", "d10", 0.5),
    ("q1", "d1", 7.25),
    ("q\u00e9", "d\u00e9", 1e-3),
    ("q2", "d1", -0.25),
    ("q1", "a", 0.5),
]


@pytest.mark.parametrize("write", [trec, parquet])
def test_order_is_score_then_document_id_whatever_the_file_says(
    tmp_path: Path, queries: TextTable, corpus: TextTable, write: Callable[..., Path]
) -> None:
    suffix = ".parquet" if write is parquet else ".trec"
    for seed in range(4):
        lines = random.Random(seed).sample(LINES, len(LINES))
        path = write(tmp_path / f"run{suffix}", lines)
        run = read_run(path, queries, corpus)
        assert lists_of(run) == {
            "q1": [("d1", 7.25), ("a", 0.5), ("d10", 0.5), ("d9", 0.5)],
            "q2": [("d1", -0.25), ("a", -1.0)],
            "q10": [],
            "q\u00e9": [("d\u00e9", float(np.float32(1e-3)))],
        }
        assert run.ignored == 0
        assert run.digest == digest_file(path)


def test_a_search_is_cut_and_padded(tmp_path: Path, queries: TextTable, corpus: TextTable) -> None:
    run = read_run(trec(tmp_path / "run.trec", LINES), queries, corpus)
    ids, scores = run.search(np.array([2, 1, 0]), 3)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert [[DOCS[d] for d in row if d >= 0] for row in ids] == [
        [],
        ["d1", "a", "d10"],
        ["d1", "a"],
    ]
    np.testing.assert_array_equal(ids == -1, np.isneginf(scores))
    assert run.search(np.array([], dtype=np.int64), 3)[0].shape == (0, 3)


def test_lines_of_unknown_queries_are_counted_and_left_out(
    tmp_path: Path, queries: TextTable, corpus: TextTable
) -> None:
    # their documents may be unknown too: they belong to another corpus' queries
    lines = [*LINES, ("other", "d1", 1.0), ("q11", "nowhere", 2.0), ("other", "d1", 1.0)]
    run = read_run(trec(tmp_path / "run.trec", lines), queries, corpus)
    assert run.ignored == 3
    assert lists_of(run) == lists_of(read_run(trec(tmp_path / "r.trec", LINES), queries, corpus))


def test_blank_lines_tabs_and_line_ends_are_no_matter(
    tmp_path: Path, queries: TextTable, corpus: TextTable
) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(b"\r\nq1\tQ0\td1\t1\t2.5\ttag\r\n\n  q1  Q0 d9 2 1e0 tag")
    assert lists_of(read_run(path, queries, corpus))["q1"] == [("d1", 2.5), ("d9", 1.0)]


@pytest.mark.parametrize("name", ["run.trec", "run.parquet"])
def test_an_empty_run_finds_nothing(
    tmp_path: Path, queries: TextTable, corpus: TextTable, name: str
) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        parquet(path, [])
    else:
        path.write_bytes(b"")
    run = read_run(path, queries, corpus)
    assert not any(lists_of(run).values())


GOOD = b"q1 Q0 d1 1 2.5 tag\n"
TREC_MISTAKES = {
    "unknown document": (b"q1 Q0 d77 2 1 tag\n", "RUN:2: unknown corpus id 'd77' (1 such lines);"),
    "same document": (b"q1 Q0 d1 2 1 t\n", "RUN:2: document 'd1' stands twice for query 'q1';"),
    "too few fields": (b"q1 d1 1 2.5 tag\n", "RUN:2: 5 fields, expected 6 (qid Q0 docid rank"),
    "too many fields": (b"q1 Q0 d9 2 1 my tag\n", "RUN:2: 7 fields, expected 6"),
    "no number": (b"q1 Q0 d9 2 high tag\n", "RUN:2: score 'high' is not a number"),
    "nan": (b"q1 Q0 d9 2 nan tag\n", "RUN:2: score 'nan' is not finite; remove the line"),
    "infinite": (b"q1 Q0 d9 2 -inf tag\n", "RUN:2: score '-inf' is not finite"),
    # beyond float32, where it would pass for the padding
    "too large": (b"q1 Q0 d9 2 -1e39 tag\n", "RUN:2: score '-1e39' is not finite"),
    "nan of an unknown query": (b"q77 Q0 d9 2 nan tag\n", "RUN:2: score 'nan' is not finite"),
    "not UTF-8": (b"q1 Q0 d\xff 2 1 tag\n", "RUN:2: not UTF-8 ("),
    "later lines": (b"\nq1 Q0 d9 2 1 t\nq1 Q0 d1 3 1 t\n", "RUN:4: document 'd1' stands twice"),
}


@pytest.mark.parametrize("name", TREC_MISTAKES)
def test_a_mistake_names_the_line(
    tmp_path: Path, queries: TextTable, corpus: TextTable, name: str
) -> None:
    lines, says = TREC_MISTAKES[name]
    path = tmp_path / "run.trec"
    path.write_bytes(GOOD + lines)
    with pytest.raises(PyriteError) as error:
        read_run(path, queries, corpus)
    assert str(error.value).startswith(says.replace("RUN", str(path)))
    assert "\n" not in str(error.value)


PARQUET_MISTAKES: dict[str, tuple[Line, str]] = {
    "unknown document": (("q1", "d77", 1.0), "RUN:2: unknown corpus id 'd77'"),
    "same document": (("q1", "d1", 1.0), "RUN:2: document 'd1' stands twice for query 'q1'"),
    "nan": (("q1", "d9", float("nan")), "RUN:2: score 'nan' is not finite"),
    "too large": (("q1", "d9", 1e39), "RUN:2: score '1e+39' is not finite"),
}


@pytest.mark.parametrize("name", PARQUET_MISTAKES)
def test_a_mistake_in_a_parquet_names_the_row(
    tmp_path: Path, queries: TextTable, corpus: TextTable, name: str
) -> None:
    line, says = PARQUET_MISTAKES[name]
    path = parquet(tmp_path / "run.parquet", [("q1", "d1", 2.5), line])
    with pytest.raises(PyriteError) as error:
        read_run(path, queries, corpus)
    assert str(error.value).startswith(says.replace("RUN", str(path)))


@pytest.mark.parametrize("column", ["query_id", "doc_id", "score"])
def test_a_missing_column_is_named(
    tmp_path: Path, queries: TextTable, corpus: TextTable, column: str
) -> None:
    path = parquet(tmp_path / "run.parquet", LINES)
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(PyriteError, match=f"column '{column}' is missing; a candidate file has"):
        read_run(path, queries, corpus)


@pytest.mark.parametrize("data", [b"", b"PAR1 and then nothing"])
def test_what_is_no_parquet_is_an_error(
    tmp_path: Path, queries: TextTable, corpus: TextTable, data: bytes
) -> None:
    path = tmp_path / "run.parquet"
    path.write_bytes(data)
    with pytest.raises(PyriteError, match="not a readable parquet file"):
        read_run(path, queries, corpus)


@pytest.mark.parametrize("name", ["none.trec", "none.parquet", ""])
def test_a_missing_file_is_an_error(
    tmp_path: Path, queries: TextTable, corpus: TextTable, name: str
) -> None:
    with pytest.raises(PyriteError, match="no such run file; set the source's path to a TREC run"):
        read_run(tmp_path / name, queries, corpus)


def test_an_export_reads_back_as_the_same_lists(
    tmp_path: Path, queries: TextTable, corpus: TextTable
) -> None:
    generator = np.random.default_rng(0)
    rows = np.array([3, 0, 1], dtype=np.int64)
    ids = np.stack([generator.permutation(len(DOCS))[:4] for _ in rows])
    scores = np.sort(generator.standard_normal((3, 4)).astype(np.float32), axis=1)[:, ::-1].copy()
    ids[1, 2:], scores[1, 2:] = -1, -np.inf
    source = np.array([[0, 1, 0, 1]] * 3, dtype=np.uint8)
    ranks = np.where(ids >= 0, [[1, 1, 2, 2]], 0).astype(np.int32)
    found = Candidates(rows, ids, scores, source, ranks, ("dense", "words"))
    path = tmp_path / "candidates.parquet"
    assert export_candidates(found, queries, corpus, path) == 10
    run = read_run(path, queries, corpus)
    again, again_scores = run.search(rows, 4)
    np.testing.assert_array_equal(again, ids)
    assert again_scores.tobytes() == scores.tobytes()
    exported = pq.read_table(path).to_pylist()
    assert exported[1] == {
        "query_id": QUERIES[3],
        "doc_id": DOCS[ids[0, 1]],
        "rank": 2,
        "score": float(scores[0, 1]),
        "source": "words",
        "source_rank": 1,
    }
    assert [row["rank"] for row in exported] == [1, 2, 3, 4, 1, 2, 1, 2, 3, 4]

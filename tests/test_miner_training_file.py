from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.miner.formats.registry import FORMATS, guess
from pyrite.miner.formats.sources import Sources
from pyrite.miner.training_file import TrainingFile, open_training_file
from pyrite.miner.training_row import Doc, TrainingRow

FLAG = {
    "query": "q",
    "pos": ["p"],
    "neg": ["a", "b"],
    "pos_scores": [0.9],
    "neg_scores": [0.5, 1],
    "neg_id": [7, "x"],
    "type": "normal",
}
TEVATRON = {
    "query_id": 3,
    "query": "q",
    "positive_passages": [{"docid": "p", "title": "T", "text": "p", "score": 0.9}],
    "negative_passages": [
        {"docid": 7, "title": None, "text": "a"},
        {"docid": "x", "title": "T", "text": "b"},
    ],
    "subset": "s",
}
TRIPLET = {"anchor": "q", "positive": "p", "negative": "a", "scores": [0.9, 0.5]}
TUPLE = {"query": "q", "answer": "p", "negative_1": "a", "negative_2": "b", "negative_10": "c"}
LISTED = {"anchor": "q", "positive": "p", "negative": ["a", "b"], "labels": [1, 0, 0]}
RECORDS = [FLAG, TEVATRON, TRIPLET, TUPLE, LISTED]


def write(folder: Path, *records: object, name: str = "train.jsonl") -> Path:
    path = folder / name
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    raw = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def rows(path: Path) -> list[TrainingRow]:
    return list(open_training_file(path).rows())


def texts(docs: Sequence[Doc]) -> list[str]:
    return [doc.full for doc in docs]


def test_flag_embedding_has_texts_with_scores_and_ids(tmp_path: Path) -> None:
    path = write(tmp_path, FLAG)
    assert open_training_file(path).format.name == "FlagEmbedding"
    negatives = (Doc("7", "", "a", 0.5), Doc("x", "", "b", 1.0))
    good, extra = (Doc(None, "", "p", 0.9),), {"type": "normal"}
    assert rows(path) == [TrainingRow(1, None, "q", good, negatives, extra=extra)]


def test_tevatron_puts_the_title_before_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, TEVATRON)
    assert open_training_file(path).format.name == "Tevatron"
    [row] = rows(path)
    assert (row.query_id, row.query) == ("3", "q")
    assert row.positives == (Doc("p", "T", "p", 0.9),)
    assert row.negatives == (Doc("7", "", "a"), Doc("x", "T", "b"))
    assert texts(row.negatives) == ["a", "T b"]


def test_sentence_transformers_columns_are_positional(tmp_path: Path) -> None:
    [triplet] = rows(write(tmp_path, TRIPLET))
    assert triplet.negatives == (Doc(None, "", "a", 0.5),)
    assert triplet.positives == (Doc(None, "", "p", 0.9),)
    path = write(tmp_path, TUPLE)
    assert open_training_file(path).format.name == "sentence-transformers"
    [row] = rows(path)
    assert (row.query, texts(row.positives), texts(row.negatives)) == ("q", ["p"], ["a", "b", "c"])
    [listed] = rows(write(tmp_path, LISTED))
    assert [doc.score for doc in (*listed.positives, *listed.negatives)] == [1, 0, 0]
    swapped = {"positive": "p", "query": "q", "negative": "a", "label": 1}
    [row] = rows(write(tmp_path, swapped))
    assert (row.query, row.positives[0].full) == ("q", "p")
    with_id = {"query_id": "7", "anchor": "q", "positive": "p", "negative": "a"}
    assert rows(write(tmp_path, with_id))[0].query == "q"


def test_a_null_negative_column_is_a_shorter_row(tmp_path: Path) -> None:
    path = write(tmp_path, TUPLE, {**TUPLE, "negative_2": None})
    assert [texts(row.negatives) for row in rows(path)] == [["a", "b", "c"], ["a", "c"]]


@pytest.mark.parametrize("record", RECORDS, ids=",".join)
def test_gzip_and_parquet_read_as_plain_lines_do(tmp_path: Path, record: dict[str, Any]) -> None:
    # a parquet column has one type
    record = json.loads(json.dumps(record).replace("7", '"7"'))
    plain = rows(write(tmp_path, record, record))
    assert [row.line for row in plain] == [1, 2]
    assert rows(write(tmp_path, record, record, name="train.jsonl.gz")) == plain
    pq.write_table(pa.Table.from_pylist([record, record]), tmp_path / "train.parquet")
    assert rows(tmp_path / "train.parquet") == plain


def test_blank_lines_are_passed_over_and_counted_as_lines(tmp_path: Path) -> None:
    assert [row.line for row in rows(write(tmp_path, FLAG, b"", b"  ", FLAG))] == [1, 4]


def test_more_rows_than_a_block(tmp_path: Path) -> None:
    path = write(tmp_path, *({**FLAG, "query": f"q{i}"} for i in range(1100)))
    found = rows(path)
    assert [(row.line, row.query) for row in found] == [(i + 1, f"q{i}") for i in range(1100)]


MALFORMED: dict[str, tuple[object, list[str]]] = {
    "not JSON": (b'{"query": ', ["not a JSON object"]),
    "not UTF-8": (b'{"query": "\xff"}', ["UTF-8"]),
    "a list": (["q"], ["a JSON list", "one JSON object"]),
    "string for a list": ({**FLAG, "neg": "abc"}, ["'neg' is a str", "must be a list"]),
    "positive as string": ({**FLAG, "pos": "abc"}, ["'pos' is a str", "must be a list"]),
    "null for a list": ({**FLAG, "neg": None}, ["'neg' is null", "must be a list"]),
    "field missing": ({"query": "q", "pos": ["p"]}, ["'neg' is missing", "must be a list"]),
    "query missing": ({"pos": ["p"], "neg": ["p"]}, ["'query' is missing", "string"]),
    "number for a text": ({**FLAG, "neg": [1, "a"]}, ["'neg' is a int", "string"]),
    "half a letter": ({**FLAG, "query": "\ud800"}, ["'query'", "surrogate"]),
    "scores too few": ({**FLAG, "neg_scores": [1]}, ["'neg_scores' has 1 items, expected 2"]),
    "score a word": ({**FLAG, "neg_scores": [1, "2"]}, ["'neg_scores'", "a str", "numbers"]),
    "score a truth": ({**FLAG, "neg_scores": [1, True]}, ["'neg_scores'", "a bool", "numbers"]),
    "id a list": ({**FLAG, "neg_id": [[], "2"]}, ["'neg_id'", "a list"]),
}


@pytest.mark.parametrize(("record", "says"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_line_is_an_error_with_file_and_line(
    tmp_path: Path, record: object, says: list[str]
) -> None:
    path = write(tmp_path, FLAG, record)
    with pytest.raises(PyriteError) as error:
        rows(path)
    assert str(error.value).startswith(f"{path}:2: ")
    for part in says:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        (TEVATRON, {"negative_passages": "abc"}, "'negative_passages' is a str"),
        (TEVATRON, {"negative_passages": ["abc"]}, "'negative_passages' holds a str"),
        (TEVATRON, {"positive_passages": [{"docid": "1"}]}, "positive_passages: field 'text'"),
        (TEVATRON, {"positive_passages": [{"title": 1, "text": "a"}]}, "'title' is a int"),
        (TRIPLET, {"positive": ["p"]}, "'positive' is a list"),
        (TRIPLET, {"negative": 3}, "'negative' is a int"),
        (TRIPLET, {"scores": [1]}, "'scores' has 1 items, expected 2"),
    ],
)
def test_malformed_passages_and_columns(
    tmp_path: Path, good: dict[str, Any], bad: dict[str, Any], says: str
) -> None:
    path = write(tmp_path, good, {**good, **bad})
    with pytest.raises(PyriteError, match=says) as error:
        rows(path)
    assert str(error.value).startswith(f"{path}:2: ")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    cases = {
        tmp_path / "nowhere.jsonl": "no such training file",
        tmp_path: "no negatives.parquet",
        write(tmp_path, b"", name="empty.jsonl"): "no rows",
        write(tmp_path, {"query": "q", "negatives_of": []}): "of no format",
        write(tmp_path, b"x", name="x.parquet"): "not readable as parquet",
    }
    broken = tmp_path / "cut.jsonl.gz"
    broken.write_bytes(gzip.compress(json.dumps(FLAG).encode())[:-9])
    (tmp_path / "plain.jsonl.gz").write_bytes(b"{}")
    cases |= {broken: "gzip", tmp_path / "plain.jsonl.gz": "gzip"}
    for path, says in cases.items():
        with pytest.raises(PyriteError, match=says) as error:
            rows(path)
        assert str(error.value).startswith(str(path))


def copy(file: TrainingFile, out: Path, keep: list[int]) -> list[TrainingRow]:
    pruned = (file.format.prune(record, keep) for _, record in file.entries())
    file.write(out, [record for record in pruned if record is not None])
    return list(TrainingFile(out, file.format, file.layout).rows())


@pytest.mark.parametrize("record", [FLAG, TEVATRON, LISTED], ids=",".join)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_pruned_copy_keeps_everything_else(
    tmp_path: Path, record: dict[str, Any], suffix: str
) -> None:
    file = open_training_file(write(tmp_path, record, name=f"train{suffix}"))
    [before], [after] = list(file.rows()), copy(file, tmp_path / f"out{suffix}", [1])
    assert (after.query_id, after.query) == (before.query_id, before.query)
    assert after.positives == before.positives
    assert after.negatives == before.negatives[1:]
    [(_, written)] = TrainingFile(tmp_path / f"out{suffix}", file.format, file.layout).entries()
    assert list(written) == list(record)
    for key in ("type", "subset", "query", "pos"):
        assert written.get(key) == record.get(key)


def test_one_column_for_each_negative_cannot_be_pruned(tmp_path: Path) -> None:
    for record in (TUPLE, TRIPLET):
        file = open_training_file(write(tmp_path, record))
        assert file.format.prune(record, [0]) is None


def test_parquet_is_copied_with_its_schema(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("query", pa.large_string()),
            ("pos", pa.list_(pa.string())),
            ("neg", pa.list_(pa.string())),
        ]
    ).with_metadata({"huggingface": "x"})
    table = pa.Table.from_pylist([{"query": "q", "pos": ["p"], "neg": ["a", "b"]}], schema=schema)
    pq.write_table(table, tmp_path / "in.parquet")
    [row] = copy(open_training_file(tmp_path / "in.parquet"), tmp_path / "out.parquet", [1])
    assert texts(row.negatives) == ["b"]
    written = pq.read_schema(tmp_path / "out.parquet")
    assert written.equals(schema)
    assert written.metadata[b"huggingface"] == b"x"


def test_a_copy_never_overwrites_and_keeps_the_kind_of_file(tmp_path: Path) -> None:
    file = open_training_file(write(tmp_path, FLAG))
    before = file.path.read_bytes()
    with pytest.raises(PyriteError, match="never overwritten"):
        file.write(file.path, [FLAG])
    assert file.path.read_bytes() == before
    with pytest.raises(PyriteError, match="same suffix"):
        file.write(tmp_path / "out.parquet", [FLAG])


def test_half_a_letter_in_a_field_that_nothing_reads_is_copied(tmp_path: Path) -> None:
    odd = {**FLAG, "prompt": "\ud800 \u00e9"}
    file = open_training_file(write(tmp_path, FLAG, odd))
    file.write(tmp_path / "out.jsonl", [record for _, record in file.entries()])
    lines = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [FLAG, odd]


def test_a_large_parquet_copy_has_few_row_groups(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(
        [{"query": str(i), "pos": ["p"], "neg": ["a"]} for i in range(5000)]
    )
    pq.write_table(table, tmp_path / "in.parquet")
    file = open_training_file(tmp_path / "in.parquet")
    file.write(tmp_path / "out.parquet", (record for _, record in file.entries()))
    assert pq.read_table(tmp_path / "out.parquet").equals(table)
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 2


def test_a_gzip_copy_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    file = open_training_file(write(tmp_path, FLAG))
    for name in ("a.gz", "b.gz"):
        file.write(tmp_path / name, [FLAG])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(RECORDS),
    st.data(),
)
def test_any_value_in_any_field_is_a_row_or_an_error_with_the_line(
    value: object, record: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(list(record)))
    changed = {**record, key: value}
    fault = ""
    try:
        made = FORMATS[guess(record, "f:1")].make(Path("f"), record, "f:1", Sources())
        assert made is not None
        row = made.parse(changed, 9, "f:9")
    except PyriteError as error:
        fault = str(error)
    if fault:
        assert fault.startswith("f:9: ")
    else:
        assert row.line == 9
        assert all(isinstance(doc.text, str) for doc in (*row.positives, *row.negatives))

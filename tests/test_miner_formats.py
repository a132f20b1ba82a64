from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_files import found
from hypothesis import given
from hypothesis import strategies as st
from spoilt_rows import spoilt
from training_dialects import CLEAN, DIALECTS, NOWHERE, Dialect, Row

from pyrite.core.errors import PyriteError
from pyrite.miner.audit import audit
from pyrite.miner.formats import json_stream
from pyrite.miner.formats.json_stream import JsonStream
from pyrite.miner.formats.registry import FORMATS
from pyrite.miner.formats.sources import Sources
from pyrite.miner.formats.texts import named_texts
from pyrite.miner.training_file import open_training_file
from pyrite.miner.training_row import TrainingRow

NAMES = [f"{at} {dialect.name}" for at, dialect in enumerate(DIALECTS)]
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=NAMES)
SPOILT = [
    pytest.param(dialect, rows, expected, id=f"{name}: {fault}")
    for name, dialect in zip(NAMES, DIALECTS, strict=True)
    for fault, rows, expected in spoilt(dialect)
]


def neutral(rows: Sequence[TrainingRow]) -> list[tuple[str, list[str], list[str]]]:
    return [(r.query, [d.full for d in r.positives], [d.full for d in r.negatives]) for r in rows]


def cut(dialect: Dialect, rows: Sequence[Row]) -> list[tuple[str, list[str], list[str]]]:
    return [(r.query, [r.positive], r.negatives[: dialect.negatives]) for r in rows]


@each_dialect
def test_a_clean_file_is_guessed_read_and_passes(tmp_path: Path, dialect: Dialect) -> None:
    path, sources = dialect.put(tmp_path, CLEAN)
    file = open_training_file(path, sources)
    assert file.format.name == dialect.name
    assert neutral(list(file.rows())) == cut(dialect, CLEAN)
    result = audit(path, sources=sources)
    assert found(result) == {}
    assert result.passes(max_warnings=0)
    assert (result.rows, result.negatives) == (3, 3 * dialect.negatives)


@pytest.mark.parametrize(("dialect", "rows", "expected"), SPOILT)
def test_each_fault_is_found_once_in_every_format(
    tmp_path: Path, dialect: Dialect, rows: list[Row], expected: dict[str, int]
) -> None:
    path, sources = dialect.put(tmp_path, rows)
    assert found(audit(path, sources=sources)) == expected


@each_dialect
@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_files_read_as_plain_ones_do(tmp_path: Path, dialect: Dialect, packed: str) -> None:
    path, sources = dialect.put(tmp_path, CLEAN)
    there = path.with_name(path.name + packed)
    raw = path.read_bytes()
    if packed == ".gz":
        there.write_bytes(gzip.compress(raw))
    else:
        with pa.CompressedOutputStream(str(there), "zstd") as stream:
            stream.write(raw)
    plain = list(open_training_file(path, sources).rows())
    assert list(open_training_file(there, sources).rows()) == plain
    there.write_bytes(there.read_bytes()[:-6])
    with pytest.raises(PyriteError, match=r"not readable as (gzip|zstd)"):
        list(open_training_file(there, sources).rows())


@each_dialect
def test_records_in_parquet_read_as_lines_do(tmp_path: Path, dialect: Dialect) -> None:
    path, sources = dialect.put(tmp_path, CLEAN)
    file = open_training_file(path, sources)
    records = [record for _, record in file.entries()]
    if {"fields", "lines", "rows", "hard"} & records[0].keys():
        return
    if dialect.name == "contrastors":
        return
    if dialect.name == "NeMo":
        sources = Sources(tmp_path / "c" / "train.parquet", cache=tmp_path / "cache")
    # parquet has no empty struct
    table = pa.Table.from_pylist(json.loads(json.dumps(records)))
    pq.write_table(table, tmp_path / "train.parquet")
    again = open_training_file(tmp_path / "train.parquet", sources)
    assert again.format.name == dialect.name
    assert neutral(list(again.rows())) == neutral(list(file.rows()))


@each_dialect
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_a_cleaned_copy_is_the_same_format_without_the_fault(
    tmp_path: Path, dialect: Dialect, packed: str
) -> None:
    one, *rest = CLEAN
    bad = Row(one.query, one.positive, [one.positive, "something else"])
    path, sources = dialect.put(tmp_path, [bad, *rest])
    out = path.with_name(f"clean-{path.name}{packed}")
    result = audit(path, sources=sources, fix=out)
    assert result.removed is not None
    kept = open_training_file(out, sources)
    assert kept.format.name == dialect.name
    assert kept.layout.kind == open_training_file(path, sources).layout.kind
    whole = dialect.negatives == 1 or dialect.name == "sentence-transformers"
    expected = cut(
        dialect, rest if whole else [Row(one.query, one.positive, bad.negatives[1:]), *rest]
    )
    assert neutral(list(kept.rows())) == expected
    assert audit(out, sources=sources).count("error") == 0


def test_pairs_are_rows_of_one_document(tmp_path: Path) -> None:
    def pairs(*rows: tuple[str, str, Any]) -> Path:
        text = "".join(
            json.dumps(dict(zip(("sentence1", "sentence2", "label"), row, strict=True))) + "\n"
            for row in rows
        )
        (tmp_path / "pairs.jsonl").write_text(text, encoding="utf-8")
        return tmp_path / "pairs.jsonl"

    clean = [("q", "p", 1), ("q", "n", 0), ("r", "n", 1.0)]
    result = audit(pairs(*clean))
    assert result.format == "sentence-transformers labelled pair"
    assert found(result) == {}
    assert (result.positives, result.negatives) == (2, 1)
    assert found(audit(pairs(*clean, ("Q", "P ", 0)))) == {"SIBLING_POSITIVE": 1}
    assert found(audit(pairs(*clean, ("q", "Q", 0)))) == {"QUERY_AS_NEGATIVE": 1}
    assert found(audit(pairs(*clean, ("q", " ", 0)))) == {"EMPTY_TEXT": 1}
    assert found(audit(pairs(*clean, clean[1]))) == {"DUPLICATE_ROW": 1}
    with pytest.raises(PyriteError, match=r"pairs.jsonl:4: field 'label' is 0\.3; only the labels"):
        audit(pairs(*clean, ("q", "x", 0.3)))


def test_a_scored_list_has_its_positive_first(tmp_path: Path) -> None:
    row = {"query": "q", "documents": ["p", "a", "b"], "scores": [0.9, 0.95, 0.1]}
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    assert neutral(list(open_training_file(path).rows())) == [("q", ["p"], ["a", "b"])]
    assert found(audit(path)) == {"INVERTED_SCORE": 1}


def test_a_missing_score_of_pylate_is_none(tmp_path: Path) -> None:
    [dialect] = [d for d in DIALECTS if d.name == "PyLate" and d.scores]
    path, sources = dialect.put(tmp_path, [Row("q", "p", ["a", "b"], scores=[-1.0, 0.1])])
    [row] = open_training_file(path, sources).rows()
    assert [doc.score for doc in (*row.positives, *row.negatives)] == [0.9, None, 0.1]


def test_ranks_tell_a_run_from_id_triples(tmp_path: Path) -> None:
    [dialect] = [d for d in DIALECTS if d.name == "ranking"]
    _, sources = dialect.put(tmp_path, CLEAN[:1])
    path = tmp_path / "run.tsv"
    path.write_text("1\tP1\t1\n1\tP2\t2\n", encoding="utf-8")
    file = open_training_file(path, sources)
    assert file.format.name == "MS MARCO run"
    [row] = file.rows()
    assert [(doc.id, doc.score) for doc in row.negatives] == [("P1", None), ("P2", None)]
    named = open_training_file(path, sources, "triples-ids")
    assert [[doc.id for doc in row.negatives] for row in named.rows()] == [["1"], ["2"]]
    # a rank that is left out, one line alone, ids
    for text in ("1\tP1\t1\n1\tP2\t3\n", "1\tP1\t1\n", "1\t2\t3\n1\t3\t2\n", "1\t1\t1\n1\t2\t1\n"):
        path.write_text(text, encoding="utf-8")
        assert open_training_file(path, sources).format.name == "MS MARCO id triples", text


def test_nemo_keeps_what_stands_beside_the_rows(tmp_path: Path) -> None:
    [dialect] = [d for d in DIALECTS if d.name == "NeMo"]
    path, _ = dialect.put(tmp_path, CLEAN)
    # without sources the corpus is the one that the file names
    file = open_training_file(path)
    file.write(tmp_path / "out.json", [record for _, record in file.entries()])
    written, before = (json.loads(p.read_text("utf-8")) for p in (tmp_path / "out.json", path))
    assert written == before
    assert list(written) == ["corpus", "data", "mining"]


def test_ids_need_their_texts(tmp_path: Path) -> None:
    for dialect in DIALECTS:
        if dialect.ids and dialect.name != "NeMo":
            path, sources = dialect.put(tmp_path, CLEAN)
            with pytest.raises(PyriteError, match="name them with --corpus"):
                open_training_file(path)
            needs_queries = dialect.name not in ("Tevatron by id", "SimANS")
            if needs_queries:
                with pytest.raises(PyriteError, match="name them with --queries"):
                    open_training_file(path, Sources(sources.corpus, cache=sources.cache))
    path, sources = next(d for d in DIALECTS if d.name == "TREC run").put(tmp_path, CLEAN)
    with pytest.raises(PyriteError, match="name the judgements with --qrels"):
        open_training_file(path, Sources(sources.corpus, sources.queries, cache=sources.cache))


TREC = "1 Q0 P1 1 0.5 t\n"
FAULTS: dict[str, tuple[str, str, str]] = {
    "run with five fields": ("train.trec", f"{TREC}1 Q0 P2 2 0.4\n", ":2: 5 fields, expected 6"),
    "run with a word": ("train.trec", f"{TREC}2 Q0 P2 1 high t\n", ":2: score 'high' is not a num"),
    "run in pieces": ("x.run", f"{TREC}2 Q0 P1 1 1 t\n{TREC}", ":3: query '1' stands in two pla"),
    "triple with four": ("t.tsv", "q q\ta a\tb b\nq q\ta\tb\tc\n", ":2: 4 tab-separated fields"),
    "triple not UTF-8": ("t.tsv", "q q\ta a\tb b\nq\xff", ":2: not UTF-8"),
    "list with a number": (
        "a.json",
        '[\n{"question": "q", "positive_ctxs": []},\n3]',
        ":3: a JSON",
    ),
    "list cut off": ("a.json", '[\n{"question": "q", "positive_ctxs": []},\n{"q', ":3: not read"),
    "list with a tail": ("a.json", '[{"question": "q", "positive_ctxs": []}]\n3', ":2: not read"),
    "pair of simans": ("s.tsv", "1\tq q\tP1 1\tP2 1\n2\tr r\tP1\tP2 1\n", ":2: 'P1' is no pair"),
    "string for a list": (
        "d.json",
        '[{"question":"q","positive_ctxs":"p"}]',
        ":1: field 'positive_ctxs' is",
    ),
    "ids in a string": (
        "k.jsonl",
        '{"query_id": 1, "document_ids": "[P1"}',
        ":1: field 'document_",
    ),
    "no id": (
        "k.jsonl",
        '{"query_id": 1, "document_ids": ["P1", null]}',
        ":1: field 'document_ids'",
    ),
    "scores too few": (
        "k.jsonl",
        '{"query_id": 1, "document_ids": ["P1", "P2"], "scores": [1]}',
        ":1: field 'scores' has 1 items, expected 2",
    ),
    "systems as a list": (
        "m.jsonl",
        '{"qid": 1, "pos": [], "neg": []}',
        ":1: field 'neg' is a list",
    ),
    "ids as a string": (
        "v.jsonl",
        '{"query_text": "q", "positive_document_ids": "P1", "negative_document_ids": []}',
        ":1: field 'positive_document_ids' is a str; it must be a list",
    ),
}


@pytest.mark.parametrize(("name", "text", "says"), FAULTS.values(), ids=FAULTS)
def test_a_malformed_row_is_an_error_with_file_and_line(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    _, sources = DIALECTS[3].put(tmp_path, CLEAN)
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PyriteError) as error:
        list(open_training_file(path, sources).rows())
    assert str(error.value).startswith(f"{path}{says}"), error.value


def test_texts_of_every_layout(tmp_path: Path) -> None:
    expected = [("P1", "A title a text"), ("P2", "b")]
    passages = "id\ttext\ttitle\nP1\ta text\tA title\nP2\tb\t\n"
    files = {
        "corpus.jsonl": '{"_id": "P1", "title": "A title", "text": "a text"}\n'
        '{"_id": "P2", "text": "b"}',
        "tevatron.jsonl": '{"docid": "P1", "text": "A title a text"}\n{"docid": "P2", "text": "b"}',
        "docs.jsonl": '{"document_id":"P1","document":"A title a text"}\n'
        '{"document_id":"P2","document":"b"}',
        "collection.tsv": "P1\tA title a text\nP2\tb\n",
        "docs.tsv": "P1\thttp\tA title\ta text\nP2\thttp\t\tb\n",
        "psgs_w100.tsv": passages,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert list(named_texts(tmp_path / name)) == expected, name
    table = pa.table({"id": ["P1", "P2"], "text": ["a text", "b"], "title": ["A title", None]})
    pq.write_table(table, tmp_path / "train.parquet")
    assert list(named_texts(tmp_path / "train.parquet")) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("P1\ta\nP1\tb\n", "collection.tsv:2: id 'P1' stands in .*collection.tsv:1 too"),
        ("P1\ta\nP2\n", ":2: 1 tab-separated fields"),
        ("P1\ta\n\tb\n", ":2: empty or unprintable id"),
    ],
)
def test_faults_of_a_collection(tmp_path: Path, text: str, says: str) -> None:
    path, sources = DIALECTS[3].put(tmp_path, CLEAN)
    assert sources.corpus is not None
    sources.corpus.write_text(text, encoding="utf-8")
    for _ in range(2):  # nothing half-made may be mapped the second time
        with pytest.raises(PyriteError, match=says):
            open_training_file(path, sources)


def test_unknown_names_of_formats(tmp_path: Path) -> None:
    path, _ = DIALECTS[0].put(tmp_path, CLEAN)
    with pytest.raises(PyriteError, match="no such format; one of pyrite, tevatron"):
        open_training_file(path, wanted="nope")
    with pytest.raises(PyriteError, match="not of --format=st-list"):
        open_training_file(path, wanted="st-list")
    assert {d.name for d in DIALECTS} <= {
        open_training_file(*d.put(tmp_path, CLEAN)).format.name for d in DIALECTS
    }
    assert len(FORMATS) == len(set(FORMATS))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(st.lists(JSON), st.sampled_from([None, 1]), st.integers(1, 9))
def test_streamed_items_are_those_of_the_json_module(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], indent: int | None, size: int
) -> None:
    path = tmp_path_factory.mktemp("stream") / "a.json"
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=False), encoding="utf-8")
    stream = JsonStream(path)
    raw = path.read_bytes()
    stream._pieces = iter([raw[at : at + size] for at in range(0, len(raw), size)])
    assert [value for _, value in stream.items()] == values
    stream.end()


def test_a_long_list_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    item = json.dumps({"question": "q " * 500, "positive_ctxs": []})
    (tmp_path / "a.json").write_text(f"[{','.join([item] * 4000)}]", encoding="utf-8")
    tracemalloc.start()
    try:
        assert sum(1 for _ in JsonStream(tmp_path / "a.json").items()) == 4000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (tmp_path / "a.json").stat().st_size / 4


def test_an_item_without_end_is_not_read_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "MAX_ITEM", 1 << 17)
    (tmp_path / "a.json").write_text('[{"a": "' + "x" * (1 << 20), encoding="utf-8")
    with pytest.raises(PyriteError, match="an item of more than"):
        list(JsonStream(tmp_path / "a.json").items())


def test_an_unknown_id_is_a_finding_not_an_end(tmp_path: Path) -> None:
    for dialect in DIALECTS:
        if dialect.ids and not dialect.inline:
            path, sources = dialect.put(tmp_path, [Row("q", "p", [NOWHERE, "a"]), *CLEAN])
            result = audit(path, sources=sources)
            assert result.counts.total() == 1

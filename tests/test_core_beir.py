from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import write_dataset

from pyrite.core.beir import open_beir, write_beir
from pyrite.core.dataset import DatasetConfig, open_dataset, text_hashes
from pyrite.core.digest import u64
from pyrite.core.errors import PyriteError
from pyrite.core.store import MANIFEST
from pyrite.core.text import normalise

GOOD = b'{"_id": "d1", "text": "one"}\n{"_id": "d2", "text": "two"}\n'
QUERIES = b'{"_id": "q1", "text": "first"}\n'
HEADER = b"query-id\tcorpus-id\tscore\n"


def folder_of(
    folder: Path, corpus: bytes = GOOD, queries: bytes = QUERIES, qrels: bytes = b"q1\td1\t1\n"
) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_bytes(corpus)
    (folder / "queries.jsonl").write_bytes(queries)
    (folder / "qrels" / "train.tsv").write_bytes(HEADER + qrels)
    return folder


def failure(call: Callable[[], object]) -> str:
    with pytest.raises(PyriteError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


BAD_LINES = {
    "malformed": (b'{"_id": "d2", "text": \n', r":3: not a JSON object in UTF-8"),
    "half a line": (b'{"_id": "d2", "te', r":3: not a JSON object in UTF-8"),
    "array": (b'["d2", "two"]\n', r":3: a JSON list, but each line must be one JSON object"),
    "number": (b"7\n", r":3: a JSON int, but"),
    "null": (b"null\n", r":3: a JSON NoneType, but"),
    "invalid UTF-8": (b'{"_id": "d2", "text": "\xff"}\n', r":3: not a JSON object in UTF-8"),
    "too deep": (b'{"_id": "d2", "text": ' + b"[" * 99999, r":3: not a JSON object in UTF-8"),
    "surrogate": (
        b'{"_id": "d2", "text": "\\ud83d"}\n',
        r":3: field 'text' holds half a surrogate",
    ),
    "id surrogate": (b'{"_id": "\\udc00", "text": "x"}\n', r":3: field '_id' holds half"),
    "no id": (line(text="two"), r":3: field '_id' is missing; it must be a string"),
    "null id": (line(_id=None, text="two"), r":3: field '_id' is a NoneType"),
    "bool id": (line(_id=True, text="two"), r":3: field '_id' is a bool"),
    "empty id": (line(_id="", text="two"), r":3: empty or unprintable '_id'"),
    "NUL in id": (line(_id="a\0", text="two"), r":3: empty or unprintable '_id'"),
    "no text": (line(_id="d2"), r":3: field 'text' is missing"),
    "text number": (line(_id="d2", text=3), r":3: field 'text' is a int; it must be a string"),
    "text null": (line(_id="d2", text=None), r":3: field 'text' is a NoneType"),
    "title list": (line(_id="d2", text="two", title=["t"]), r":3: field 'title' is a list"),
    "empty text": (line(_id="d2", text="  "), r":3: empty text for id 'd2'; .*on_empty=drop"),
    "duplicate": (
        line(_id="d1", text="two"),
        r": id 'd1' stands in lines 1 and 3; ids",
    ),
    "long id": (line(_id="d" * 513, text="two"), r": id .* has 513 bytes, the limit is 512"),
}


@pytest.mark.parametrize("name", ["corpus", "queries"])
@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_text_line_is_named_and_leaves_no_artefact(
    tmp_path: Path, case: str, name: str
) -> None:
    bad, expected = BAD_LINES[case]
    # the blank second line counts as a line of the file
    content = line(_id="d1", text="one") + b"\n" + bad
    folder = folder_of(tmp_path / "data")
    path = folder / f"{name}.jsonl"
    path.write_bytes(content)
    text = failure(lambda: open_beir(folder, tmp_path / "cache"))
    assert re.match(re.escape(str(path)) + expected, text), text
    done = [p for p in (tmp_path / "cache").rglob(MANIFEST)]
    assert len(done) == (name == "queries"), "only the good corpus may be there"


def test_a_duplicate_id_is_named_by_the_lines_of_two_rows(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data")
    texts = [("x", "one"), ("d1", " "), ("y", "two"), ("d1", "three"), ("d1", "four"), ("d1", "5")]
    lines = [line(_id=row_id, text=text) for row_id, text in texts]
    (folder / "corpus.jsonl").write_bytes(b"\n \n".join(lines))
    # the empty text of line 4 is no row, and the fourth d1 changes nothing
    text = failure(lambda: open_beir(folder, tmp_path / "cache", "drop"))
    assert "corpus.jsonl: id 'd1' stands in lines 10 and 13; ids must be unique" in text


BAD_QRELS = {
    "two fields": (b"q1\td1\n", r":3: 2 tab-separated fields, expected 3"),
    "spaces": (b"q1 d1 1\n", r":3: 1 tab-separated fields, expected 3"),
    "four fields": (b"q1\t0\td1\t1\n", r":3: 4 tab-separated fields, expected 3"),
    "tabs only": (b"\t\t\n", r":3: score '' is not a whole number"),
    "float score": (b"q1\td2\t1.0\n", r":3: score '1.0' is not a whole number"),
    "word score": (b"q1\td2\tyes\n", r":3: score 'yes' is not a whole number"),
    "huge score": (b"q1\td2\t32768\n", r":3: score 32768 is outside -32768..32767"),
    "query": (b"q9\td2\t1\n", r":3: unknown queries id 'q9' \(1 such lines\)"),
    "document": (b"q1\td9\t1\nq1\td8\t1\n", r":3: unknown corpus id 'd9' \(2 such lines\)"),
    "padded id": (b"q1\td2\0\t1\n", r":3: unknown corpus id 'd2\\x00'"),
    "long id": (b"q1\t" + b"d" * 140_000 + b"\t1\n", r":3: unknown corpus id 'ddd"),
    "empty id": (b"q1\t\t1\n", r":3: unknown corpus id ''"),
    "invalid UTF-8": (b"q1\t\xff\t1\n", r":3: not UTF-8"),
    "second header": (HEADER, r":3: score 'score' is not a whole number"),
}


@pytest.mark.parametrize("case", BAD_QRELS)
def test_a_bad_judgement_is_named_with_its_line(tmp_path: Path, case: str) -> None:
    bad, expected = BAD_QRELS[case]
    folder = folder_of(tmp_path / "data", qrels=b"q1\td1\t1\n" + bad)
    dataset = open_beir(folder, tmp_path / "cache")
    text = failure(lambda: dataset.qrels("train"))
    assert re.match(re.escape(str(folder / "qrels" / "train.tsv")) + expected, text), text


def test_no_positive_at_all_is_an_error(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", qrels=b"q1\td1\t0\nq1\td2\t1\n")
    dataset = open_beir(folder, tmp_path / "cache")
    assert dataset.qrels("train").positives(0).tolist() == [1]
    text = failure(lambda: dataset.qrels("train", min_grade=2))
    assert "train.tsv: no query has a positive (grade >= 2); lower dataset.min_grade" in text
    (folder / "qrels" / "train.tsv").write_bytes(b"")
    assert "no query has a positive" in failure(lambda: dataset.qrels("train"))


def test_an_unknown_split_lists_the_existing_ones(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data")
    (folder / "qrels" / "dev.tsv").write_bytes(HEADER)
    dataset = open_beir(folder, tmp_path / "cache")
    assert dataset.splits() == ["dev", "train"]
    assert failure(lambda: dataset.qrels("test")).endswith(
        "no such split; the folder has dev, train"
    )


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_or_folder_says_what_belongs_there(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    text = failure(lambda: open_beir(folder, tmp_path / "cache"))
    assert text == f"{folder}: no such dataset folder; set dataset.path to a BEIR folder"
    (folder_of(folder) / name).unlink()
    text = failure(lambda: open_beir(folder, tmp_path / "cache"))
    assert text.startswith(f"{folder / name}: no such file; a BEIR folder holds corpus.jsonl")


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_texts_is_an_error(tmp_path: Path, content: bytes) -> None:
    folder = folder_of(tmp_path / "data", corpus=content)
    assert "corpus.jsonl: no texts" in failure(lambda: open_beir(folder, tmp_path / "cache"))
    assert list((tmp_path / "cache").rglob(MANIFEST)) == []


def test_titles_are_joined_and_foreign_fields_ignored(tmp_path: Path) -> None:
    corpus = (
        line(_id="d1", title="A title", text="a text", metadata={"x": 1})
        + line(_id="d2", title="", text=" only text ")
        + line(_id="d3", title=None, text="x\ty")
        + line(_id="d4", title="only title", text="")
        + line(_id=5, text="é \U0001f600")
    )
    folder = folder_of(tmp_path / "data", corpus=corpus.replace(b"\n", b"\r\n"))
    table = open_beir(folder, tmp_path / "cache").corpus
    assert table.id_strings(slice(None)) == ["d1", "d2", "d3", "d4", "5"]
    expected = ["A title a text", "only text", "x\ty", "only title", "é \U0001f600"]
    assert table.texts(slice(None)) == expected


def test_grades_duplicates_and_windows_line_ends(tmp_path: Path) -> None:
    rows = b"q1\td2\t1\r\n\r\nq1\td2\t3\r\nq1\td1\t-1"
    folder = folder_of(tmp_path / "data", qrels=rows)
    qrels = open_beir(folder, tmp_path / "cache").qrels("train", min_grade=3)
    assert qrels.docs.tolist() == [0, 1]
    assert qrels.grades.tolist() == [-1, 3]
    assert qrels.positives(0).tolist() == [1]


def test_qrels_need_no_header_and_quotes_are_letters(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", corpus=line(_id='"d1', text="x"))
    (folder / "qrels" / "train.tsv").write_bytes(b'q1\t"d1\t1\n')
    assert open_beir(folder, tmp_path / "cache").qrels("train").positives(0).tolist() == [0]


def test_dropped_empty_texts_are_counted_also_from_the_cache(tmp_path: Path) -> None:
    corpus = line(_id="a", text="") + GOOD + line(_id="b", title=" ", text="\t")
    folder = folder_of(tmp_path / "data", corpus=corpus)
    for _ in range(2):
        dataset = open_beir(folder, tmp_path / "cache", "drop")
        assert dataset.dropped == {"documents": {"a", "b"}, "queries": frozenset()}
        assert dataset.corpus.id_strings(slice(None)) == ["d1", "d2"]
    assert "empty text for id 'a'" in failure(lambda: open_beir(folder, tmp_path / "cache"))


def test_judgements_of_dropped_texts_are_passed_over_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = GOOD + line(_id="a", text="")
    queries = QUERIES + line(_id="q2", text=" ")
    qrels = b"q1\ta\t1\nq1\td1\t1\nq2\td1\t1\n"
    folder = folder_of(tmp_path / "data", corpus, queries, qrels)
    for _ in range(2):
        found = open_beir(folder, tmp_path / "cache", "drop").qrels("train")
        assert found.docs.tolist() == [0]
        assert "train.tsv: 2 judgements of dropped texts passed over" in caplog.text
        caplog.clear()
    (folder / "qrels" / "train.tsv").write_bytes(HEADER + qrels + b"q1\tnowhere\t1\n")
    said = failure(lambda: open_beir(folder, tmp_path / "cache", "drop").qrels("train"))
    assert "train.tsv:5: unknown corpus id 'nowhere'" in said


def test_an_edited_file_gets_a_new_digest_and_is_read_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data")
    before = open_beir(folder, tmp_path / "cache")
    assert open_beir(folder, tmp_path / "cache").digest() == before.digest()
    (folder / "corpus.jsonl").write_bytes(GOOD.replace(b"two", b"2wo"))
    after = open_beir(folder, tmp_path / "cache")
    assert after.corpus.texts([1]) == ["2wo"]
    assert after.corpus.digest != before.corpus.digest
    assert after.queries.digest == before.queries.digest
    assert after.digest() != before.digest()


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data")
    digest = open_beir(folder, tmp_path / "cache").corpus.digest
    cached = tmp_path / "cache" / "texts" / digest / "texts.arrow"
    cached.write_bytes(cached.read_bytes().replace(b"two", b"toe"))
    assert open_beir(folder, tmp_path / "cache").corpus.texts([1]) == ["two"]


def test_what_write_beir_writes_is_what_open_beir_reads(tmp_path: Path) -> None:
    corpus = {"d\u2028": ("title", "multi\nline"), "d2": ("", "é")}
    write_beir(tmp_path / "ours", corpus, {"q": "query"}, {"train": [("q", "d\u2028", 2)]})
    dataset = open_beir(tmp_path / "ours", tmp_path / "cache")
    assert dataset.corpus.texts([0, 1]) == ["title multi\nline", "é"]
    assert dataset.queries.id_strings([0]) == ["q"]
    assert dataset.qrels("train").grades.tolist() == [2]


def test_text_hashes_are_those_of_the_normal_form(tmp_path: Path) -> None:
    corpus = {"a": "Straße  x", "b": "STRASSE\nX", "c": "ﬁne", "d": "fine", "e": "other"}
    write_dataset(tmp_path / "d", corpus, {"q": "x"}, {})
    table = open_beir(tmp_path / "d", tmp_path / "cache").corpus
    for _ in range(2):
        hashes = text_hashes(table, tmp_path / "cache")
        assert hashes.tolist() == [u64(normalise(t)) for t in corpus.values()]
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3]
    assert np.unique(hashes).size == 3


def test_max_documents_does_not_cut_a_beir_folder(tmp_path: Path) -> None:
    # as where the path is another dataset's of a table
    path = str(folder_of(tmp_path / "data"))
    config = DatasetConfig(max_documents=10).model_copy(update={"path": path})
    text = failure(lambda: open_dataset(config, tmp_path / "cache"))
    assert text.startswith("dataset.max_documents=10 applies to dataset.path=stdlib only")

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_files import found, places
from fakes import write_dataset

from pyrite.core.errors import PyriteError
from pyrite.miner.audit import audit
from pyrite.miner.audit_checks import Check

CORPUS = {"d1": "red", "d2": "green", "d3": "blue"}
QUERIES = {"q1": "what is red", "q2": "what is green"}
TRAIN = [("q1", "d1", 1), ("q2", "d2", 2), ("q1", "d3", 0)]


def beir(folder: Path) -> Path:
    return write_dataset(folder / "set", CORPUS, QUERIES, {"train": TRAIN})


def append(name: str, line: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    return spoil


def test_a_clean_set_passes(tmp_path: Path) -> None:
    result = audit(beir(tmp_path))
    assert (result.format, found(result)) == ("BEIR", {})
    assert (result.rows, result.positives, result.negatives) == (2, 2, 1)
    assert result.passes(max_warnings=0)


FAULTS: dict[str, tuple[Callable[[Path], None], Check, int, str]] = {
    "document twice": (
        append("corpus.jsonl", '{"_id": "d1", "text": "again"}'),
        Check.DUPLICATE_ID,
        4,
        "corpus.jsonl",
    ),
    "text twice": (
        append("corpus.jsonl", '{"_id": "d4", "text": " RED"}'),
        Check.DUPLICATE_TEXT,
        4,
        "corpus.jsonl",
    ),
    "empty document": (
        append("corpus.jsonl", '{"_id": "d4", "title": "", "text": " "}'),
        Check.EMPTY_TEXT,
        4,
        "corpus.jsonl",
    ),
    "long document": (
        append("corpus.jsonl", '{"_id": "d4", "text": "' + "a " * 513 + '"}'),
        Check.LONG_TEXT,
        4,
        "corpus.jsonl",
    ),
    "query twice": (
        append("queries.jsonl", '{"_id": "q1", "text": "again"}'),
        Check.DUPLICATE_ID,
        3,
        "queries.jsonl",
    ),
    "empty query": (
        append("queries.jsonl", '{"_id": "q3", "text": ""}'),
        Check.EMPTY_TEXT,
        3,
        "queries.jsonl",
    ),
    "equal queries": (
        append("queries.jsonl", '{"_id": "q3", "text": "what is  RED"}'),
        Check.DUPLICATE_TEXT,
        3,
        "queries.jsonl",
    ),
    "unknown query": (
        append("qrels/train.tsv", "q9\td1\t1"),
        Check.UNKNOWN_ID,
        5,
        "qrels/train.tsv",
    ),
    "unknown document": (
        append("qrels/train.tsv", "q1\td9\t0"),
        Check.UNKNOWN_ID,
        5,
        "qrels/train.tsv",
    ),
    "judged twice": (
        append("qrels/train.tsv", "q2\td2\t1"),
        Check.DUPLICATE_JUDGEMENT,
        5,
        "qrels/train.tsv",
    ),
    "judged both ways": (
        append("qrels/train.tsv", "q2\td2\t0"),
        Check.CONTRADICTION,
        5,
        "qrels/train.tsv",
    ),
}


@pytest.mark.parametrize(("spoil", "check", "line", "where"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_found_once(
    tmp_path: Path, spoil: Callable[[Path], None], check: Check, line: int, where: str
) -> None:
    folder = beir(tmp_path)
    spoil(folder)
    result = audit(folder)
    assert found(result) == {check.name: 1}
    assert places(result, check) == [(line, where)]
    assert result.passes() == (check.severity == "warning")


def test_queries_of_a_held_out_set_are_found(tmp_path: Path) -> None:
    other = write_dataset(
        tmp_path / "held", CORPUS, {"t": "What is RED"}, {"test": [("t", "d1", 1)]}
    )
    result = audit(beir(tmp_path), against=other)
    assert places(result, Check.TEST_QUERY) == [(1, "queries.jsonl")]


def test_a_packed_corpus_is_read(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    raw = (folder / "corpus.jsonl").read_bytes()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(raw))
    (folder / "corpus.jsonl").unlink()
    assert found(audit(folder)) == {}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (append("corpus.jsonl", '{"text": "a"}'), r"corpus\.jsonl:4: empty or unprintable id"),
        (append("qrels/train.tsv", "q1 0 d1 1"), r"train\.tsv:5: 1 tab-separated fields"),
        (append("qrels/train.tsv", "q1\td1\tx"), r"train\.tsv:5: grade 'x' is not a whole"),
        (lambda folder: (folder / "queries.jsonl").unlink(), r"queries\.jsonl: no such file"),
        (lambda folder: (folder / "qrels/train.tsv").unlink(), "qrels: no judgements"),
    ],
)
def test_what_is_not_in_the_form(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    folder = beir(tmp_path)
    spoil(folder)
    with pytest.raises(PyriteError, match=says):
        audit(folder)


def test_a_set_is_never_rewritten(tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match="never rewritten; leave --fix out"):
        audit(beir(tmp_path), fix=tmp_path / "out")

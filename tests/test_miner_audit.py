from __future__ import annotations

import json
import math
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from audit_files import flag, found, places, write
from fakes import toy_dataset, write_dataset
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.errors import PyriteError
from pyrite.core.text import normalise
from pyrite.miner.audit import audit
from pyrite.miner.audit_checks import Check, Checker, Known
from pyrite.miner.contamination import HeldOut
from pyrite.miner.near_text import NearIndex, may_be_near, near, words_of
from pyrite.miner.training_row import Doc, TrainingRow

TEN = "one two three four five six seven eight nine ten"


# each case: the records, the finding it must have, where; nothing else is found
CASES: dict[str, tuple[list[dict[str, Any]], Check, list[tuple[int, str]]]] = {
    "own positive by text": (
        [flag("q", ["Die  Straße", "z"], ["a", "die strasse"])],
        Check.OWN_POSITIVE,
        [(1, "negative 2")],
    ),
    "own positive by id": (
        [flag("q", ["p"], ["a", "b"], pos_id=["1"], neg_id=["2", 1])],
        Check.OWN_POSITIVE,
        [(1, "negative 2")],
    ),
    "sibling's positive": (
        [flag("q", ["p"], ["a"]), flag("Q ", ["z"], ["P"]), flag("other", ["z"], ["p"])],
        Check.SIBLING_POSITIVE,
        [(2, "negative 1")],
    ),
    "sibling's positive by id": (
        [flag("q", ["p"], ["a"], pos_id=["7"]), flag("q", ["z"], ["b"], neg_id=["7"])],
        Check.SIBLING_POSITIVE,
        [(2, "negative 1")],
    ),
    "query as negative": (
        [flag("What is this", ["p"], ["a", "what is THIS"])],
        Check.QUERY_AS_NEGATIVE,
        [(1, "negative 2")],
    ),
    "empty query": ([flag(" ", ["p"], ["a"])], Check.EMPTY_TEXT, [(1, "query")]),
    "empty documents": (
        [flag("q", ["", "p"], ["a", "\t"])],
        Check.EMPTY_TEXT,
        [(1, "positive 1"), (1, "negative 2")],
    ),
    "scores not finite": (
        [flag("q", ["p"], ["a", "b"], pos_scores=[math.nan], neg_scores=[math.inf, 9])],
        Check.NONFINITE_SCORE,
        [(1, "positive 1"), (1, "negative 1")],
    ),
    "no negatives": ([flag("q", ["p"], [])], Check.NO_NEGATIVES, [(1, "row")]),
    "no positives": ([flag("q", [], ["a"])], Check.NO_POSITIVES, [(1, "row")]),
    "copied negatives": (
        [flag("q", ["p"], ["a", "b", "A", "a "])],
        Check.DUPLICATE_NEGATIVE,
        [(1, "negative 3"), (1, "negative 4")],
    ),
    "copied negatives by id": (
        [flag("q", ["p"], ["a", "b"], neg_id=["1", "1"])],
        Check.DUPLICATE_NEGATIVE,
        [(1, "negative 2")],
    ),
    "near a positive": (
        [flag("q", ["x", TEN], [TEN.replace(" ten", "!"), "one two three four five six seven"])],
        Check.NEAR_POSITIVE,
        [(1, "negative 1")],
    ),
    "long texts": (
        [flag("q", ["p " * 513], ["a " * 512, "b " * 513])],
        Check.LONG_TEXT,
        [(1, "positive 1"), (1, "negative 2")],
    ),
    "inverted scores": (
        [flag("q", ["p", "r"], ["a", "b", "c"], pos_scores=[0.9, 0.5], neg_scores=[0.5, 0.6, 2])],
        Check.INVERTED_SCORE,
        [(1, "negative 2"), (1, "negative 3")],
    ),
    "short row": (
        [
            flag("q", ["p"], ["a", "b"]),
            flag("r", ["p"], ["a"]),
            flag("s", ["p"], ["a", "b", "c"]),
            flag("t", ["p"], ["a", "b"]),
        ],
        Check.SHORT_ROW,
        [(2, "row")],
    ),
    "copied row": (
        [flag("q", ["p", "r"], ["a", "b"]), flag("Q", ["r", "p"], ["b", "A"])],
        Check.DUPLICATE_ROW,
        [(2, "row")],
    ),
}


@pytest.mark.parametrize(("records", "check", "where"), CASES.values(), ids=CASES)
def test_each_fault_is_found_where_it_is_and_nothing_else_is(
    tmp_path: Path, records: list[dict[str, Any]], check: Check, where: list[tuple[int, str]]
) -> None:
    result = audit(write(tmp_path, *records))
    assert found(result) == {check.name: len(where)}
    assert places(result, check) == where
    assert result.passes() == (check.severity == "warning")
    assert result.passes(max_warnings=0) is False


def test_severities() -> None:
    warnings = {check.name for check in Check if check.severity == "warning"}
    assert warnings == {
        "DUPLICATE_NEGATIVE",
        "NEAR_POSITIVE",
        "LONG_TEXT",
        "INVERTED_SCORE",
        "SHORT_ROW",
        "DUPLICATE_ROW",
        "NONE_MINED",
        "DUPLICATE_TEXT",
        "DUPLICATE_JUDGEMENT",
    }


def test_a_clean_file_passes_and_is_counted(tmp_path: Path) -> None:
    result = audit(write(tmp_path, flag("q", ["p", "r"], ["a"]), flag("s", ["p"], ["r"])))
    assert found(result) == {}
    assert result.passes(max_warnings=0)
    assert (result.rows, result.positives, result.negatives) == (2, 3, 2)


def test_warnings_are_counted_against_their_limit(tmp_path: Path) -> None:
    result = audit(write(tmp_path, flag("q", ["p"], ["a", "a", "a"])))
    assert [result.passes(limit) for limit in (None, 2, 1)] == [True, True, False]


def test_only_the_first_examples_are_kept(tmp_path: Path) -> None:
    result = audit(write(tmp_path, *(flag(f"q{i}", ["p"], ["p"]) for i in range(9))))
    assert result.counts[Check.OWN_POSITIVE] == 9
    assert places(result, Check.OWN_POSITIVE) == [(i + 1, "negative 1") for i in range(5)]


def test_max_words_moves_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path, flag("q", ["one two"], ["a b c"]))
    counts = [audit(path, max_words=n).counts[Check.LONG_TEXT] for n in (1, 2, 3)]
    assert counts == [2, 1, 0]


# against a second opinion in plain Python

WORDS = ["", "a", "A", "b", "c", "a b", "b a", "a b c d e", "a b c d", "\uff41"]
SCORES = st.none() | st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf])
DOCS = st.builds(
    Doc,
    st.none() | st.sampled_from(["1", "2"]),
    st.sampled_from(["", "a"]),
    st.sampled_from(WORDS),
    SCORES,
)
KNOWN = st.lists(DOCS, max_size=4).map(tuple)
ROWS = st.lists(st.builds(TrainingRow, st.just(1), st.none(), st.sampled_from(WORDS), KNOWN, KNOWN))


def jaccard(left: str, right: str) -> Fraction:
    a, b = (set(normalise(t).replace("!", " ").split()) for t in (left, right))
    return Fraction(len(a & b), len(a | b)) if a | b else Fraction(0)


def same(left: Doc, right: Doc) -> bool:
    texts = normalise(left.full), normalise(right.full)
    return (left.id is not None and left.id == right.id) or (texts[0] == texts[1] != "")


def oracle(rows: Sequence[TrainingRow]) -> list[tuple[int, Check, str, int]]:
    sizes = Counter(len(row.negatives) for row in rows)
    usual = max(n for n in sizes if sizes[n] == max(sizes.values())) if rows else 0
    out: list[tuple[int, Check, str, int]] = []
    for i, row in enumerate(rows):
        marks = [*of_row(row, usual, rows[:i]), *of_texts(row), *of_negatives(row, rows)]
        out.extend((i, *mark) for mark in marks)
    return out


def of_row(
    row: TrainingRow, usual: int, earlier: Sequence[TrainingRow]
) -> Iterator[tuple[Check, str, int]]:
    def content(r: TrainingRow) -> tuple[str, list[str], list[str]]:
        def names(docs: Sequence[Doc]) -> list[str]:
            texts = [(normalise(d.full), d.id) for d in docs]
            return sorted(f"text {t}" if t else f"id {i}" for t, i in texts)

        return normalise(r.query), names(r.positives), names(r.negatives)

    if not row.positives:
        yield Check.NO_POSITIVES, "row", 0
    if not row.negatives:
        yield Check.NO_NEGATIVES, "row", 0
    elif len(row.negatives) < usual:
        yield Check.SHORT_ROW, "row", 0
    if content(row) in [content(other) for other in earlier]:
        yield Check.DUPLICATE_ROW, "row", 0


def of_texts(row: TrainingRow) -> Iterator[tuple[Check, str, int]]:
    texts = [("query", 0, row.query)]
    for part, docs in (("positive", row.positives), ("negative", row.negatives)):
        texts.extend((part, at, doc.full) for at, doc in enumerate(docs))
        for at, doc in enumerate(docs):
            if doc.score is not None and not math.isfinite(doc.score):
                yield Check.NONFINITE_SCORE, part, at
    for part, at, text in texts:
        if text == "":
            yield Check.EMPTY_TEXT, part, at
        elif len(text.split()) > 3:
            yield Check.LONG_TEXT, part, at


def of_negatives(row: TrainingRow, rows: Sequence[TrainingRow]) -> Iterator[tuple[Check, str, int]]:
    siblings = [
        d for r in rows if normalise(r.query) == normalise(row.query) != "" for d in r.positives
    ]
    finite = [d.score for d in row.positives if d.score is not None and math.isfinite(d.score)]
    for at, doc in enumerate(row.negatives):
        own = any(same(doc, positive) for positive in row.positives)
        marks = {
            Check.OWN_POSITIVE: own,
            Check.SIBLING_POSITIVE: not own and any(same(doc, d) for d in siblings),
            Check.QUERY_AS_NEGATIVE: normalise(doc.full) == normalise(row.query) != "",
            Check.DUPLICATE_NEGATIVE: any(same(doc, d) for d in row.negatives[:at]),
            Check.NEAR_POSITIVE: not own
            and any(jaccard(doc.full, d.full) >= Fraction(4, 5) for d in row.positives),
            Check.INVERTED_SCORE: doc.score is not None
            and math.isfinite(doc.score)
            and any(doc.score > score for score in finite),
        }
        yield from ((check, "negative", at) for check, hit in marks.items() if hit)


@given(ROWS)
def test_flags_are_those_of_nested_loops(rows: list[TrainingRow]) -> None:
    checker = Checker(Known.gather(rows), 3, None)
    found = checker.check(rows[:2]) + checker.check(rows[2:])
    flags = [(i, f.check, f.part, f.at) for i, row in enumerate(found) for f in row]
    assert Counter(flags) == Counter(oracle(rows))


@given(ROWS.filter(len), st.randoms())
def test_counts_do_not_depend_on_the_order_of_the_rows(rows: list[TrainingRow], r: Any) -> None:
    def counts(ordered: Sequence[TrainingRow]) -> Counter[Check]:
        checker = Checker(Known.gather(ordered), 3, None)
        return Counter(f.check for flags in checker.check(ordered) for f in flags)

    mixed = list(rows)
    r.shuffle(mixed)
    assert counts(rows) == counts(mixed)


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.jsonl"
        with path.open("w", encoding="utf-8") as handle:
            for i in range(rows):
                row = flag(f"q{i}", [f"p{i} " * 300], [f"a{i} " * 300])
                handle.write(json.dumps(row) + "\n")
        tracemalloc.start()
        try:
            assert audit(path, max_words=300).rows == rows
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # the first call also pays for imports
    _, few, many = (peak(rows) for rows in (8, 384, 768))
    more_texts = (768 - 384) * 2 * 300 * 5
    assert many - few < more_texts / 4


# near duplicates and test queries

SENTENCES = st.lists(st.sampled_from("abcdefgh"), max_size=8).map(" ".join)


@given(SENTENCES, SENTENCES)
def test_what_is_near_may_be_near(left: str, right: str) -> None:
    likely = may_be_near(words_of(left), normalise(right))
    assert likely or not near(words_of(left), words_of(right))


def test_few_words_in_common_are_told_without_a_set_of_words() -> None:
    ten = words_of(TEN)
    assert may_be_near(ten, normalise(" ".join(TEN.split()[:8])))
    assert not may_be_near(ten, normalise(" ".join(TEN.split()[:7])))


def test_the_limit_of_nearness_is_exact() -> None:
    ten = words_of(TEN)
    assert near(words_of("a b c d"), words_of("A, b; c d e"))
    assert near(ten, words_of(" ".join(TEN.split()[:8])))
    assert not near(ten, words_of(" ".join(TEN.split()[:7])))
    assert not near(words_of("?"), words_of("!"))


@given(st.dictionaries(st.text("xyz", max_size=2), SENTENCES), SENTENCES)
def test_the_index_finds_what_comparing_all_pairs_finds(texts: dict[str, str], text: str) -> None:
    expected = [key for key in texts if jaccard(texts[key], text) >= Fraction(4, 5)]
    assert NearIndex(texts).find(text) == min(expected, default=None)


def test_contamination_is_found_exactly_and_nearly(tmp_path: Path) -> None:
    queries = {"t1": TEN, "t2": "Where is it?", "other": "not tested", "t3": "?!"}
    qrels = {"test": [(q, "d", 1) for q in ("t1", "t2", "t3")], "train": [("other", "d", 1)]}
    data = write_dataset(tmp_path / "data", {"d": "x"}, queries, qrels)
    asked = ["where  IS it?", "not tested", "where", f"well {TEN}", "?!", "!?"]
    path = write(tmp_path, *(flag(q, ["p"], ["a"]) for q in asked))
    result = audit(path, against=data)
    assert found(result) == {"TEST_QUERY": 3}
    assert places(result, Check.TEST_QUERY) == [(1, "query"), (4, "query"), (5, "query")]
    assert not result.passes()
    other = audit(path, against=data, split="train")
    assert places(other, Check.TEST_QUERY) == [(2, "query")]
    assert found(audit(path)) == {}


def test_a_folder_that_is_no_beir_folder(tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match=r"no queries\.jsonl"):
        HeldOut.read(tmp_path, "test")
    data = toy_dataset(tmp_path / "data", 20, 8)
    with pytest.raises(PyriteError, match=r"dev\.tsv: no such split; .* test, train"):
        HeldOut.read(data, "dev")
    with (data / "qrels" / "test.tsv").open("a") as handle:
        handle.write("nobody\td0001\t1\n")
    with pytest.raises(PyriteError, match="unknown query id 'nobody'"):
        HeldOut.read(data, "test")

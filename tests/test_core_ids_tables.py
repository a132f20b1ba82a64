from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyrite.core.digest import u64
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64, MAX_ID_BYTES, IdIndex
from pyrite.core.tables import Qrels, TextTable, check_rows, write_texts

GOOD_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
KNOWN = st.lists(st.text(GOOD_CHARACTERS, min_size=1, max_size=12), unique=True, max_size=30)
# anything a foreign file may hold: empty, NULs, lone surrogates, longer than any known id
ASKED = st.lists(st.text(max_size=20), max_size=30)

QUERIES, DOCS = 4, 6
TRIPLES = st.lists(
    st.tuples(st.integers(0, QUERIES - 1), st.integers(0, DOCS - 1), st.integers(-1, 3)),
    max_size=40,
)


@given(known=KNOWN, asked=ASKED, data=st.data())
@example(known=["a"], asked=["a\0", "", "\ud800", "a" * 600], data=None)
@example(known=["a"], asked=[], data=None)
def test_find_is_a_dict_lookup(known: list[str], asked: list[str], data: st.DataObject) -> None:
    if data is not None and known:
        asked = data.draw(st.permutations([*asked, *known, known[0], known[0] + "tail"]))
    rows = {name: row for row, name in enumerate(known)}
    found = IdIndex.build(known, "here").find(asked)
    assert found.dtype == np.int64
    assert found.tolist() == [rows.get(name, -1) for name in asked]


@given(known=KNOWN)
@example(known=["\uffff", "\U00010000", "é", "z", "Z", "10", "9"])
def test_rank_is_the_place_in_sorted_order(known: list[str]) -> None:
    index = IdIndex.build(known, "here")
    ordered = sorted(known)
    assert [known[row] for row in index.rows_N] == ordered
    assert index.rank_N.tolist() == [ordered.index(name) for name in known]


@pytest.mark.parametrize(
    ("ids", "rows"),
    [(["a", "b", "a"], (1, 3)), (["é", "é"], (1, 2)), (["c", "b", "a", "b"], (2, 4))],
)
def test_a_duplicate_names_both_rows(ids: list[str], rows: tuple[int, int]) -> None:
    with pytest.raises(PyriteError, match=rf"^corpus: id .* rows {rows[0]} and {rows[1]};"):
        IdIndex.build(ids, "corpus")


def test_the_limit_of_an_id_is_in_bytes() -> None:
    IdIndex.build(["é" * (MAX_ID_BYTES // 2)], "corpus")
    with pytest.raises(PyriteError, match="has 514 bytes, the limit is 512"):
        IdIndex.build(["x", "é" * (MAX_ID_BYTES // 2 + 1)], "corpus")


def arrays(triples: list[tuple[int, int, int]]) -> tuple[I64, I64, I64]:
    table = np.array(triples, dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def judged(triples: list[tuple[int, int, int]]) -> dict[tuple[int, int], int]:
    best: dict[tuple[int, int], int] = {}
    for query, doc, grade in triples:
        best[query, doc] = max(grade, best.get((query, doc), grade))
    return best


@given(triples=TRIPLES, min_grade=st.integers(1, 3))
@example(triples=[], min_grade=1)
def test_qrels_are_a_dict_of_the_best_grades(
    triples: list[tuple[int, int, int]], min_grade: int
) -> None:
    qrels = Qrels.build(*arrays(triples), QUERIES, min_grade)
    best = judged(triples)
    stored = {
        (q, int(qrels.docs[i])): int(qrels.grades[i])
        for q in range(QUERIES)
        for i in range(int(qrels.indptr[q]), int(qrels.indptr[q + 1]))
    }
    assert len(qrels) == QUERIES
    assert stored == best
    assert qrels.docs.size == len(best), "no pair stands twice"
    positives = sorted(pair for pair, grade in best.items() if grade >= min_grade)
    query_rows, doc_rows = qrels.pairs()
    assert list(zip(query_rows.tolist(), doc_rows.tolist(), strict=True)) == positives
    assert qrels.with_positives().tolist() == sorted({q for q, _ in positives})
    for query in range(QUERIES):
        assert qrels.positives(query).tolist() == [d for q, d in positives if q == query]


@given(
    triples=TRIPLES,
    min_grade=st.integers(1, 2),
    asked=st.lists(
        st.tuples(
            st.integers(0, QUERIES - 1),
            st.lists(st.integers(-1, DOCS + 2), min_size=5, max_size=5),
        ),
        max_size=8,
    ),
)
@example(triples=[(0, 5, 1), (1, 0, 1)], min_grade=1, asked=[(1, [-1, 0, 5, 6, 8])])
@example(triples=[(0, 5, 1)], min_grade=1, asked=[(1, [0, 1, 2, 3, 3])])
@example(triples=[(2, 5, 1)], min_grade=1, asked=[(3, [-1, -1, -1, -1, 0])])
def test_is_positive_is_set_membership(
    triples: list[tuple[int, int, int]], min_grade: int, asked: list[tuple[int, list[int]]]
) -> None:
    qrels = Qrels.build(*arrays(triples), QUERIES, min_grade)
    positives = {pair for pair, grade in judged(triples).items() if grade >= min_grade}
    query_rows = np.array([query for query, _ in asked], dtype=np.int64)
    ids = np.array([row for _, row in asked], dtype=np.int64).reshape(-1, 5)
    expected = [[(query, doc) in positives for doc in row] for query, row in asked]
    assert qrels.is_positive(query_rows, ids).tolist() == expected


def table_of(path: Path, texts: dict[str, str], block: int = 3) -> TextTable:
    assert write_texts(path, texts.items(), block) == len(texts)
    return TextTable.open(path, "digest", "corpus")


def test_texts_come_back_by_list_array_and_slice(tmp_path: Path) -> None:
    texts = {f"id-{i}": f"text {i} é\n\t\U0001f600" * (i % 3) for i in range(10)}
    table = table_of(tmp_path / "t.arrow", texts)
    ids, values = list(texts), list(texts.values())
    assert len(table) == 10
    for rows in ([7, 0, 7, 3], [], list(range(10))):
        assert table.texts(rows) == [values[r] for r in rows]
        assert table.texts(np.array(rows, dtype=np.int64)) == [values[r] for r in rows]
        assert table.id_strings(rows) == [ids[r] for r in rows]
    for cut in (
        slice(None),
        slice(2, 8),
        slice(9, 99),
        slice(8, 2),
        slice(-3, None),
        slice(1, 9, 3),
        slice(None, None, -1),
    ):
        assert table.texts(cut) == values[cut]
        assert table.id_strings(cut) == ids[cut]
    assert table.id_hashes().tolist() == [u64(name) for name in ids]
    assert table.ids.find(["id-4", "id-10"]).tolist() == [4, -1]


@pytest.mark.parametrize("block", [1, 4, 5, 8])
def test_the_block_of_the_writer_changes_nothing(tmp_path: Path, block: int) -> None:
    texts = {str(i): str(i * i) for i in range(8)}
    table = table_of(tmp_path / "t.arrow", texts, block)
    assert table.texts(slice(None)) == list(texts.values())
    assert table.id_strings(slice(None)) == list(texts)


def test_a_writer_that_fails_half_way_leaves_no_table(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[str, str]]:
        yield "a", "one"
        raise PyriteError("line 2")

    with pytest.raises(PyriteError, match="line 2"):
        write_texts(tmp_path / "t.arrow", rows(), block=1)
    assert list(tmp_path.iterdir()) == []


def test_check_rows_names_the_first_unknown_id_and_its_line() -> None:
    check_rows(np.array([0, 3]), ["a", "b"], [2, 3], "qrels.tsv", "corpus")
    with pytest.raises(PyriteError, match=r"^qrels\.tsv:5: unknown corpus id 'b' \(2 such lines\)"):
        check_rows(np.array([0, -1, -1]), ["a", "b", "c"], [2, 5, 6], "qrels.tsv", "corpus")

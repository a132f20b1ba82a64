from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st
from lexical_oracle import bm25, text_table

from pyrite.core.candidates import Candidates
from pyrite.core.config import load_config
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.indexes.bm25s_index import tokenise
from pyrite.indexes.lexical import (
    MAX_QUERY_TERMS,
    LexicalConfig,
    LexicalIndex,
    StemmerName,
    StopwordsName,
    open_lexical,
)

PLAIN = LexicalConfig(stemmer="none", stopwords="none")
FRUIT = {"d1": "apple banana apple", "d2": "banana cherry", "d3": "cherry cherry cherry date"}
WORDS = ("aa", "bb", "cc", "dd", "ee")


def open_texts(folder: Path, texts: dict[str, str], **settings: Any) -> LexicalIndex:
    table = text_table(folder, texts)
    return open_lexical(PLAIN.model_copy(update=settings), table, folder)


# --- scores ---------------------------------------------------------------------------------


def test_scores_computed_by_hand(tmp_path: Path) -> None:
    # idf(apple) = ln(1 + 2.5/1.5), idf(cherry) = ln(1 + 1.5/2.5); lengths 3, 2, 4, mean 3
    ids, scores = open_texts(tmp_path, FRUIT).search(["apple cherry cherry"], 3)
    assert ids.tolist() == [[2, 0, 1]]
    expected = [
        2 * 0.4700036 * 3 / (3 + 0.9 * (0.6 + 0.4 * 4 / 3)),
        0.9808293 * 2 / (2 + 0.9),
        2 * 0.4700036 * 1 / (1 + 0.9 * (0.6 + 0.4 * 2 / 3)),
    ]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-6)
    np.testing.assert_allclose(expected, [0.701498, 0.676434, 0.528094], atol=1e-6)


def test_k1_zero_is_the_sum_of_idf(tmp_path: Path) -> None:
    _, scores = open_texts(tmp_path, FRUIT, k1=0.0).search(["cherry date", "cherry cherry"], 2)
    cherry, date = math.log(1.6), math.log(1 + 2.5 / 1.5)
    np.testing.assert_allclose(scores, [[cherry + date, cherry], [2 * cherry] * 2], rtol=1e-6)


def test_b_zero_ignores_the_length(tmp_path: Path) -> None:
    texts = {"short": "apple", "long": "apple " + "filler " * 50, "other": "pear"}
    _, flat = open_texts(tmp_path / "flat", texts, b=0.0).search(["apple"], 2)
    assert flat[0, 0] == flat[0, 1]
    ids, discounted = open_texts(tmp_path / "b", texts, b=0.4).search(["apple"], 2)
    assert ids[0, 0] == 0
    assert discounted[0, 0] > discounted[0, 1]


def test_many_terms_are_added_up_without_rounding(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    words = [f"w{i}" for i in range(60)]
    texts = {f"d{i}": " ".join(generator.choice(words, 90)) for i in range(50)}
    index = open_texts(tmp_path, texts)
    alone = np.zeros((len(words), len(texts)), dtype=np.float32)
    for word, ids, scores in zip(alone, *index.search(words, len(texts)), strict=True):
        word[ids[ids >= 0]] = scores[ids >= 0]
    ids, scores = index.search([" ".join(words)], len(texts))
    exact = [np.float32(math.fsum(alone[:, row].tolist())) for row in ids[0]]
    assert scores[0].tolist() == exact


texts_of_words = st.lists(st.sampled_from(WORDS), max_size=6)


@given(
    documents=st.lists(texts_of_words, min_size=1, max_size=12),
    queries=st.lists(st.lists(st.sampled_from((*WORDS, "zz")), max_size=6), min_size=1, max_size=4),
    k1=st.sampled_from([0.0, 0.9, 1.5]),
    b=st.sampled_from([0.0, 0.4, 1.0]),
    seed=st.integers(0, 9),
)
def test_against_plain_python(
    documents: list[list[str]], queries: list[list[str]], k1: float, b: float, seed: int
) -> None:
    documents = [[*documents[0], "aa"], *documents[1:]]  # a corpus without terms is an error
    names = [f"id{i}" for i in np.random.default_rng(seed).permutation(len(documents))]
    texts = {n: " ".join(d) for n, d in zip(names, documents, strict=True)}
    asked = [" ".join(q) for q in queries]
    with tempfile.TemporaryDirectory() as folder:
        index = open_texts(Path(folder), texts, k1=k1, b=b)
        full_ids, full_scores = index.search(asked, len(documents))
        for k in range(1, len(documents) + 1):
            ids, scores = index.search(asked, k)
            np.testing.assert_array_equal(ids, full_ids[:, :k])
            np.testing.assert_array_equal(scores, full_scores[:, :k])
    Candidates.of_one(np.arange(len(queries)), full_ids, full_scores, "bm25s").check()
    for query, ids, scores in zip(queries, full_ids, full_scores, strict=True):
        expected = bm25(documents, query, k1, b)
        found = ids[ids >= 0].tolist()
        assert sorted(found) == sorted(expected)
        np.testing.assert_allclose(scores[ids >= 0], [expected[row] for row in found], rtol=1e-6)
        order = [(-float(score), names[row]) for score, row in zip(scores, found, strict=False)]
        assert order == sorted(order)


# --- order ----------------------------------------------------------------------------------


def test_ties_at_the_border_are_settled_by_id(tmp_path: Path) -> None:
    names = [f"d{i:02d}" for i in range(40)]
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    texts = {name: "same words" for name in shuffled} | {"best": "same same same words words"}
    ids, scores = open_texts(tmp_path, texts).search(["same"], 6)
    assert [list(texts)[row] for row in ids[0]] == ["best", *names[:5]]
    assert np.unique(scores[0, 1:]).size == 1


def test_the_order_of_the_corpus_file_changes_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    texts = {f"d{i}": " ".join(generator.choice(WORDS, 4)) for i in range(60)}
    turned = dict(reversed(texts.items()))
    queries = [" ".join(generator.choice(WORDS, 3)) for _ in range(20)]
    ids, scores = open_texts(tmp_path, texts).search(queries, 25)
    turned_ids, turned_scores = open_texts(tmp_path, turned).search(queries, 25)
    np.testing.assert_array_equal(ids, len(texts) - 1 - turned_ids)
    assert scores.tobytes() == turned_scores.tobytes()


def test_batches_query_order_and_word_order_change_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    texts = {f"d{i}": " ".join(generator.choice(WORDS, 5)) for i in range(80)}
    queries = [" ".join(generator.choice(WORDS, 4)) for _ in range(30)]
    index = open_texts(tmp_path, texts)
    ids, scores = index.search(queries, 10)

    def same(found: tuple[I64, Any], rows: slice) -> bool:
        same_ids = found[0].tobytes() == ids[rows].tobytes()
        return same_ids and bool(found[1].tobytes() == scores[rows].tobytes())

    assert same(index.search(queries[::-1], 10), slice(None, None, -1))
    assert all(same(index.search([q], 10), slice(i, i + 1)) for i, q in enumerate(queries))
    turned = [" ".join(reversed(query.split())) for query in queries]
    assert same(index.search(turned, 10), slice(None))
    for threads in (1, 3):
        again = open_lexical(PLAIN, text_table(tmp_path, texts), tmp_path, threads)
        assert same(again.search(queries, 10), slice(None))


# --- queries --------------------------------------------------------------------------------


def test_rows_without_enough_matches_are_padded(tmp_path: Path) -> None:
    index = open_texts(tmp_path, FRUIT)
    ids, scores = index.search(["", "durian", "?!", "date", "date durian"], 3)
    assert ids.tolist() == [[-1] * 3] * 3 + [[2, -1, -1]] * 2
    assert np.isneginf(scores[ids < 0]).all()
    assert np.isfinite(scores[ids >= 0]).all()
    assert [ids.dtype, scores.dtype] == [np.dtype(np.int64), np.dtype(np.float32)]


def test_no_queries_give_no_rows(tmp_path: Path) -> None:
    ids, scores = open_texts(tmp_path, FRUIT).search([], 2)
    assert ids.shape == scores.shape == (0, 2)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_depth_outside_the_corpus_names_the_knob(tmp_path: Path, k: int) -> None:
    index = open_texts(tmp_path, FRUIT)
    assert len(index) == 3
    with pytest.raises(PyriteError, match=rf"k={k} .* 3 documents; set retrieve\.depth"):
        index.search(["apple"], k)


def test_long_queries_are_cut_to_different_terms(tmp_path: Path) -> None:
    texts = {"early": f"w{MAX_QUERY_TERMS - 1}", "late": f"w{MAX_QUERY_TERMS}", "other": "x"}
    index = open_texts(tmp_path, texts)
    ids, _ = index.search([" ".join(f"w{i}" for i in range(MAX_QUERY_TERMS + 1))], 2)
    assert ids.tolist() == [[0, -1]]
    repeated, scores = index.search(["x " * 5000 + texts["late"]], 2)
    assert repeated.tolist() == [[2, 1]]
    assert scores[0, 0] == pytest.approx(5000 * scores[0, 1], rel=1e-6)


# --- terms ----------------------------------------------------------------------------------


def test_queries_and_documents_are_stemmed_alike(tmp_path: Path) -> None:
    texts = {"a": "the runner was running", "b": "of the cats", "c": "it is not"}
    index = open_texts(tmp_path, texts, stemmer="english", stopwords="english")
    ids, _ = index.search(["Runs", "CAT", "the of it"], 2)
    assert ids.tolist() == [[0, -1], [1, -1], [-1, -1]]
    assert open_texts(tmp_path, texts).search(["runs", "the"], 3)[0].tolist() == [
        [-1, -1, -1],
        [1, 0, -1],
    ]


def test_unicode(tmp_path: Path) -> None:
    texts = {
        "composed": "caf\u00e9",
        "wide": "\uff21\uff22\uff23 vitamin d",
        "cyrillic": "\u041c\u043e\u0441\u043a\u0432\u0430",
        "hindi": "\u0939\u093f\u0928\u094d\u0926\u0940",
        "eszett": "Stra\u00dfe",
        "han": "\u6771\u4eac",
        "emoji": "\U0001f600 smile",
    }
    queries = ["cafe\u0301", "abc", "\u043c\u043e\u0441\u043a\u0432\u0430", texts["hindi"]]
    queries += ["STRASSE", "\u6771\u4eac", "\U0001f600", "d"]
    ids, _ = open_texts(tmp_path, texts).search(queries, 1)
    assert ids[:, 0].tolist() == [0, 1, 2, 3, 4, 5, -1, 1]
    assert tokenise([texts["hindi"]], PLAIN) == [[texts["hindi"]]]


def test_every_configurable_name_is_known_to_its_library() -> None:
    assert set(get_args(StemmerName)) - {"none"} <= set(Stemmer.algorithms())
    for name in get_args(StopwordsName):
        assert tokenise(["word"], LexicalConfig(stopwords=name, stemmer="none")) == [["word"]]


def test_a_corpus_of_stop_words_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match=r"no document has a term .* lexical\.stopwords=none"):
        open_texts(tmp_path, {"a": "the", "b": "of it"}, stopwords="english")
    assert not list((tmp_path / "lexical").iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["k1=-1"], "k1=-1"),
        (["b=1.1"], "b=1.1"),
        (["stemmer=klingon"], "stemmer='klingon'"),
        (["k2=1"], "did you mean 'k1'"),
        (["backend=lucene", "stemmer=german"], r"lexical\.stemmer=german .*backend=bm25s"),
        (["backend=lucene", "stopwords=korean"], r"lexical\.stopwords=korean .*backend=bm25s"),
    ],
)
def test_settings_are_checked(overrides: Sequence[str], message: str) -> None:
    with pytest.raises(PyriteError, match=message):
        load_config(LexicalConfig, None, overrides)

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrite.core.candidates import Candidates
from pyrite.core.embeddings import Embeddings
from pyrite.core.errors import MissingExtraError, PyriteError
from pyrite.core.tables import Qrels, TextTable, write_texts
from pyrite.core.text import normalise
from pyrite.miner.near_duplicates import (
    copies_by_group,
    jaccard,
    near_duplicate_groups,
    near_positives,
    shingles,
)

WORDS = " ".join(f"word{i}" for i in range(60)).split()


@pytest.fixture
def datasketch() -> None:
    pytest.importorskip("datasketch", reason="the extra `dedup` is not installed")


def table(folder: Path, texts: Sequence[str]) -> TextTable:
    path = folder / "texts.arrow"
    write_texts(path, ((f"d{i:04d}", t) for i, t in enumerate(texts)))
    return TextTable.open(path, "digest", "corpus")


def edited(seed: int, families: int = 6, copies: int = 5) -> list[str]:
    """Families of texts of 60 words: an original and copies with a few words changed."""
    generator = np.random.default_rng(seed)
    out = []
    for _ in range(families):
        original = generator.choice(WORDS, 60).tolist()
        out.append(" ".join(original))
        for _ in range(copies):
            words = list(original)
            for at in generator.integers(0, 60, generator.integers(0, 4)):
                words[at] = f"other{generator.integers(1000)}"
            out.append(" ".join(words) if generator.integers(2) else " ".join(words).upper())
    order = generator.permutation(len(out))
    return [out[i] for i in order]


def components(texts: Sequence[str], threshold: float) -> list[int]:
    """Connected components over all pairs, each named by its smallest row."""
    label = list(range(len(texts)))
    for a, b in itertools.combinations(range(len(texts)), 2):
        same = normalise(texts[a]) == normalise(texts[b])
        if same or jaccard(shingles(texts[a]), shingles(texts[b])) >= threshold:
            low, high = sorted((label[a], label[b]))
            label = [low if x == high else x for x in label]
    return label


def test_shingles_of_a_text() -> None:
    assert shingles("A b  C\nd e f") == {"a b c d e", "b c d e f"}
    assert shingles("one two") == {"one two"}
    assert shingles("one two", words=1) == {"one", "two"}
    assert shingles("") == {""}


def test_jaccard_of_texts_with_one_word_changed() -> None:
    # 10 words have 6 shingles; a change at the end touches one, in the middle five
    text = [f"w{i}" for i in range(10)]
    end, middle = list(text), list(text)
    end[9] = middle[5] = "x"
    left = shingles(" ".join(text))
    assert jaccard(left, shingles(" ".join(end))) == pytest.approx(5 / 7)
    assert jaccard(left, shingles(" ".join(middle))) == pytest.approx(1 / 11)
    assert jaccard(left, left) == 1.0


@pytest.mark.usefixtures("datasketch")
@pytest.mark.parametrize("seed", range(4))
def test_families_become_groups(tmp_path: Path, seed: int) -> None:
    texts = edited(seed)
    found = near_duplicate_groups(table(tmp_path, texts), 0.25, seed)
    assert found.dtype == np.int64
    assert found.tolist() == components(texts, 0.25)
    assert len(set(found.tolist())) == 6


@pytest.mark.usefixtures("datasketch")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8])
def test_pairs_well_above_the_threshold_are_found(
    tmp_path: Path, seed: int, threshold: float
) -> None:
    texts = edited(seed)
    found = near_duplicate_groups(table(tmp_path, texts), threshold, seed)
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(len(texts)), 2)
        if jaccard(shingles(texts[a]), shingles(texts[b])) >= threshold + 0.1
    ]
    assert len(pairs) > 3
    assert all(found[a] == found[b] for a, b in pairs)


@pytest.mark.usefixtures("datasketch")
@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.7, 0.95]))
def test_groups_never_join_what_all_pairs_keep_apart(
    tmp_path_factory: pytest.TempPathFactory, seed: int, threshold: float
) -> None:
    texts = edited(seed, families=3)
    folder = tmp_path_factory.mktemp("texts")
    found = near_duplicate_groups(table(folder, texts), threshold, seed)
    allowed = components(texts, threshold)
    for row, label in enumerate(found.tolist()):
        assert label <= row
        assert found[label] == label
        assert allowed[label] == allowed[row]


@pytest.mark.usefixtures("datasketch")
def test_row_order_changes_no_group(tmp_path: Path) -> None:
    texts = edited(3)
    order = np.random.default_rng(0).permutation(len(texts))
    straight = near_duplicate_groups(table(tmp_path, texts), 0.7)
    (tmp_path / "turned").mkdir()
    turned = near_duplicate_groups(table(tmp_path / "turned", [texts[i] for i in order]), 0.7)
    together = straight[:, None] == straight[None, :]
    assert np.array_equal((turned[:, None] == turned[None, :]), together[np.ix_(order, order)])


@pytest.mark.usefixtures("datasketch")
def test_equal_and_empty_texts(tmp_path: Path) -> None:
    texts = ["Same  text", "", "same text", "  ", "\uff33ame text", "another text"]
    assert near_duplicate_groups(table(tmp_path, texts)).tolist() == [0, 1, 0, 1, 0, 5]
    assert near_duplicate_groups(table(tmp_path, [])).tolist() == []


def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(MissingExtraError, match=r"datasketch.*pip install 'pyrite\[dedup\]'"):
        near_duplicate_groups(table(tmp_path, ["a"]))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"threshold": 0.0}, "threshold=0.0"),
        ({"threshold": 1.1}, "threshold=1.1"),
        ({"words": 0}, "words=0"),
        ({"permutations": 8}, "permutations=8"),
    ],
)
def test_settings_out_of_range_are_refused(
    tmp_path: Path, settings: dict[str, float], named: str
) -> None:
    with pytest.raises(PyriteError, match=named):
        near_duplicate_groups(table(tmp_path, ["a"]), **settings)  # type: ignore[arg-type]


def test_copies_by_group_on_one_query() -> None:
    # document 0 is the positive; groups: {0, 3}, {1, 2}, {4}
    groups = np.array([0, 1, 1, 0, 4])
    qrels = Qrels.build(np.array([0]), np.array([0]), np.array([1]), 1)
    ids = np.array([[3, 1, 2, 4, -1]])
    scores = np.array([[0.9, 0.8, 0.7, 0.6, -np.inf]], dtype=np.float32)
    candidates = Candidates.of_one(np.array([0]), ids, scores, "dense")
    assert copies_by_group(candidates, qrels, groups).tolist() == [
        [True, False, True, False, False]
    ]


def corpus(seed: int) -> npt.NDArray[np.float32]:
    """Vectors of small integers, so that cosines repeat and one vector is zero."""
    vectors = np.random.default_rng(seed).integers(-2, 3, (9, 3)).astype(np.float32)
    vectors[4] = 0
    return vectors


TRIPLES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(0, 2)),
    max_size=12,
    unique_by=lambda t: t[:2],
)


@given(
    st.integers(0, 10_000),
    TRIPLES,
    st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
    st.sampled_from([-1.0, -0.3, 0.0, 0.35, 0.81, 1.0]),
)
def test_near_positives_equal_a_plain_loop(
    seed: int, judged: list[tuple[int, int, int]], rows: list[int], threshold: float
) -> None:
    vectors = corpus(seed)
    ids = np.random.default_rng(seed).integers(-1, 9, (len(rows), 5))
    query, doc, grade = np.array(judged, dtype=np.int64).reshape(-1, 3).T
    qrels = Qrels.build(query, doc, grade, 4)
    found = near_positives(ids, np.array(rows), qrels, Embeddings.from_array(vectors), threshold)
    for at, row in enumerate(rows):
        positives = [d for q, d, g in judged if q == row and g >= 1]
        for column, candidate in enumerate(ids[at].tolist()):
            cosines = []
            for positive in positives:
                a, b = vectors[positive].astype(float), vectors[candidate].astype(float)
                norms = np.sqrt((a @ a) * (b @ b))
                cosines.append(float(a @ b) / norms if norms else 0.0)
            expected = candidate >= 0 and any(c >= threshold for c in cosines)
            assert found[at, column] == expected
    for at in range(len(rows)):
        alone = near_positives(
            ids[at : at + 1], np.array(rows[at : at + 1]), qrels,
            Embeddings.from_array(vectors), threshold,
        )  # fmt: skip
        assert np.array_equal(alone[0], found[at])


def test_angles_to_a_positive() -> None:
    degrees = np.radians([30, -20, 25, 50])
    vectors = 3 * np.stack((np.cos(degrees), np.sin(degrees)), axis=1).astype(np.float32)
    qrels = Qrels.build(np.array([0]), np.array([0]), np.array([1]), 1)
    ids = np.array([[2, 3, 1, -1]])
    near = near_positives(
        ids, np.array([0]), qrels, Embeddings.from_array(vectors), float(np.cos(np.radians(10)))
    )
    assert near.tolist() == [[True, False, False, False]]


def test_a_threshold_that_is_no_cosine_is_refused() -> None:
    qrels = Qrels.build(np.array([0]), np.array([0]), np.array([1]), 1)
    with pytest.raises(PyriteError, match=r"threshold=1\.01"):
        near_positives(np.zeros((1, 1), np.int64), np.array([0]), qrels,
                       Embeddings.from_array(corpus(0)), 1.01)  # fmt: skip

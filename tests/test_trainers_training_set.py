from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes import BagOfWords
from hypothesis import given
from hypothesis import strategies as st

from pyrite.core.beir import Dataset
from pyrite.core.candidates import PAD_ID
from pyrite.core.config import parse_config
from pyrite.core.dataset import DatasetConfig, open_dataset, text_hashes
from pyrite.core.rng import U64
from pyrite.core.tables import Qrels
from pyrite.core.text import normalise
from pyrite.core.text_file import NO_TEXT
from pyrite.miner.mine import MineConfig, mine
from pyrite.miner.negatives_file import FILE, NegativeRows, read_negatives
from pyrite.trainers.make_feed import make_feed
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import TrainingSet, as_dataset, training_set


def qrels_of(judged: dict[int, dict[int, int]], n_queries: int, min_grade: int = 1) -> Qrels:
    triples = [(q, d, g) for q, row in judged.items() for d, g in row.items()]
    query, doc, grade = (np.array(column, dtype=np.int64) for column in zip(*triples, strict=True))
    return Qrels.build(query, doc, grade, n_queries, min_grade)


def mined(rows: dict[int, list[int]]) -> NegativeRows:
    return NegativeRows(np.array(list(rows)), np.array(list(rows.values()), dtype=np.int64))


def hashes(*texts: int) -> U64:
    """Text hashes of a corpus, equal for equal texts and in no order."""
    return np.array([(t + 1) * 0x9E3779B97F4A7C15 % 2**64 for t in texts], dtype=np.uint64)


def known_pairs(rows: TrainingSet) -> set[tuple[int, int]]:
    return {divmod(int(value), rows.span) for value in rows.known}


def test_each_pair_is_a_row_with_its_querys_negatives() -> None:
    qrels = qrels_of({0: {3: 1, 1: 1}, 2: {0: 2}, 3: {4: 1}}, n_queries=4)
    rows = training_set(qrels, mined({2: [5, 6], 0: [7, 8]}), hashes(*range(9)), 2)
    assert rows.queries.tolist() == [2, 0, 0]
    assert rows.positives.tolist() == [0, 1, 3]
    assert rows.negatives.tolist() == [[5, 6], [7, 8], [7, 8]]
    assert rows.missing == 0


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_the_first_negatives_are_taken(n: int) -> None:
    qrels = qrels_of({0: {3: 1, 1: 1}, 1: {0: 2}}, n_queries=2)
    ids = {0: [5, 6, 7], 1: [8, 5, PAD_ID]}
    rows = training_set(qrels, mined(ids), hashes(*range(9)), n)
    assert rows.negatives.shape == (3, n)
    assert rows.negatives.tolist() == [ids[q][:n] for q in (0, 0, 1)]
    assert rows.missing == (1 if n == 3 else 0)


def test_missing_negatives_are_counted_in_every_row() -> None:
    qrels = qrels_of({0: {3: 1, 1: 1}, 1: {0: 1}, 2: {2: 1}}, n_queries=3)
    rows = training_set(
        qrels, mined({0: [5, PAD_ID], 1: [PAD_ID, PAD_ID], 2: [4, 5]}), hashes(*range(9)), 2
    )
    assert rows.queries.tolist() == [0, 0, 1, 2]
    assert rows.negatives[2].tolist() == [PAD_ID, PAD_ID]
    assert rows.missing == 4


def test_judgements_below_the_minimum_grade_are_no_pairs() -> None:
    qrels = qrels_of({0: {3: 1, 1: 2}}, n_queries=1, min_grade=2)
    rows = training_set(qrels, mined({0: [5]}), hashes(*range(9)), 1)
    assert rows.positives.tolist() == [1]
    assert known_pairs(rows) == {(0, rows.text_of_N[1])}


@given(st.data())
def test_texts_are_numbered_and_known_positives_cover_their_copies(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=10))
    docs = st.dictionaries(st.integers(0, len(texts) - 1), st.integers(0, 2), min_size=1)
    judged = data.draw(
        st.dictionaries(
            st.integers(0, 6), docs.filter(lambda row: max(row.values()) > 0), min_size=1
        )
    )
    asked = data.draw(st.permutations(list(judged)))
    rows = training_set(qrels_of(judged, 7), mined({q: [0] for q in asked}), hashes(*texts), 1)
    numbers = rows.text_of_N.tolist()
    same = [[a == b for b in texts] for a in texts]
    assert [[a == b for b in numbers] for a in numbers] == same
    positives = {(q, d) for q, row in judged.items() for d, grade in row.items() if grade > 0}
    assert known_pairs(rows) == {(q, numbers[d]) for q, d in positives}
    assert (np.diff(rows.known) > 0).all()
    # -1 stands for a missing negative: its product with a query may not fall on a text
    assert 0 <= min(numbers)
    assert max(numbers) < rows.span - 1
    assert set(zip(rows.queries.tolist(), rows.positives.tolist(), strict=True)) == positives
    assert rows.queries.size == len(positives)


def test_further_judgements_are_no_rows_but_are_known() -> None:
    split = qrels_of({0: {3: 1}, 2: {0: 2}}, n_queries=4)
    united = qrels_of({0: {3: 1, 5: 1, 6: 0}, 2: {0: 2}}, n_queries=4)
    rows = training_set(split, mined({2: [5], 0: [7]}), hashes(*range(9)), 1, united)
    assert list(zip(rows.queries.tolist(), rows.positives.tolist(), strict=True)) == [
        (2, 0),
        (0, 3),
    ]
    numbers = rows.text_of_N.tolist()
    assert known_pairs(rows) == {(0, numbers[3]), (0, numbers[5]), (2, numbers[0])}


def test_a_positive_of_dataset_qrels_is_no_negative_of_a_batch(toy: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.tsv"
    split = [r.split("\t") for r in (toy / "qrels" / "train.tsv").read_text("utf-8").split("\n")]
    judged = {(query, doc) for query, doc, _ in split[1:-1]}
    query, _, _ = split[1]
    other = next(doc for asked, doc, _ in split[1:-1] if (query, doc) not in judged)
    more.write_text(f"query-id\tcorpus-id\tscore\n{query}\t{other}\t1\n", encoding="utf-8")
    data = {"path": str(toy), "qrels": [str(more)]}
    settings = {"runs_dir": str(tmp_path / "runs"), "cache_dir": str(tmp_path / "cache")}
    config = parse_config(
        MineConfig, {**settings, "dataset": data, "retrieve": {"depth": 20}, "sampler": {"n": 2}}
    )
    rows, _ = make_feed(config, TrainSection(batch_size=4), mine(config, BagOfWords()), "mined", 2)
    dataset = open_dataset(config.dataset, config.cache)
    asked = int(dataset.queries.ids.find([query])[0])
    doc = int(dataset.corpus.ids.find([other])[0])
    assert (asked, int(rows.text_of_N[doc])) in known_pairs(rows)
    assert doc not in rows.positives[rows.queries == asked]


@dataclass(frozen=True)
class Toy:
    dataset: Dataset
    qrels: Qrels
    text_hashes: U64


@pytest.fixture
def opened(toy: Path, tmp_path: Path) -> Toy:
    dataset = open_dataset(DatasetConfig(path=str(toy)), tmp_path / "cache")
    hashed = np.asarray(text_hashes(dataset.corpus, tmp_path / "cache"))
    return Toy(dataset, dataset.qrels("train", 1), hashed)


def random_negatives(opened: Toy, n: int, seed: int = 0) -> NegativeRows:
    """Any documents, a quarter of them missing; the first query has none at all."""
    generator = np.random.default_rng(seed)
    rows = opened.qrels.with_positives()
    ids = generator.integers(0, len(opened.dataset.corpus), (rows.size, n))
    ids = np.sort(np.where(generator.random(ids.shape) < 0.25, PAD_ID, ids), axis=1)[:, ::-1]
    ids[0] = PAD_ID
    return NegativeRows(rows, np.ascontiguousarray(ids))


@pytest.mark.parametrize("n", [0, 3])
def test_labels_number_the_text_of_their_column(opened: Toy, n: int) -> None:
    negatives = random_negatives(opened, 3)
    rows = training_set(opened.qrels, negatives, opened.text_hashes, n)
    found = as_dataset(rows, opened.dataset)
    columns = ["query", "positive", *(f"negative_{at}" for at in range(1, n + 1))]
    assert found.column_names == [*columns, "label"]
    assert len(found) == rows.queries.size
    corpus = opened.dataset.corpus.texts(slice(None))
    number_of = {normalise(t): int(k) for t, k in zip(corpus, rows.text_of_N, strict=True)}
    # the toy corpus has copies, so this says more than a numbering of the rows would
    assert len(number_of) < len(corpus)
    missing = 0
    for row in found:
        texts = [row[column] for column in columns]
        assert len(row["label"]) == len(columns)
        assert texts[0] == opened.dataset.queries.texts([row["label"][0]])[0]
        assert row["label"][1] == number_of[normalise(texts[1])]
        for text, label in zip(texts[2:], row["label"][2:], strict=True):
            assert label == (number_of[normalise(text)] if text != NO_TEXT else PAD_ID)
            missing += label == PAD_ID
    assert missing == rows.missing
    assert (rows.missing > 0) is (n > 0)


def test_a_query_without_negatives_stays(opened: Toy) -> None:
    negatives = random_negatives(opened, 2)
    rows = training_set(opened.qrels, negatives, opened.text_hashes, 2)
    found = as_dataset(rows, opened.dataset)
    first = opened.dataset.queries.texts(negatives.query_rows[:1])[0]
    bare = [row for row in found if row["query"] == first]
    assert len(bare) == opened.qrels.positives(int(negatives.query_rows[0])).size
    for row in bare:
        assert row["label"][2:] == [PAD_ID, PAD_ID]
        assert (row["negative_1"], row["negative_2"]) == (NO_TEXT, NO_TEXT)
        assert row["positive"]


def test_every_pair_keeps_its_own_negatives_from_the_mined_file(
    opened: Toy, toy: Path, tmp_path: Path
) -> None:
    config = parse_config(
        MineConfig,
        {
            "runs_dir": str(tmp_path / "runs"),
            "cache_dir": str(tmp_path / "cache"),
            "threads": 1,
            "dataset": {"path": str(toy)},
            "retrieve": {"depth": 30},
            "sampler": {"n": 3},
        },
    )
    folder = mine(config, BagOfWords()).folder
    dataset = opened.dataset
    negatives = read_negatives(folder / FILE, dataset.queries, dataset.corpus, 3)
    rows = training_set(opened.qrels, negatives, opened.text_hashes, 3)
    pairs = zip(rows.queries.tolist(), rows.positives.tolist(), strict=True)
    all_queries, all_docs = opened.qrels.pairs()
    assert set(pairs) == set(zip(all_queries.tolist(), all_docs.tolist(), strict=True))
    lists = zip(negatives.query_rows.tolist(), negatives.ids.tolist(), strict=True)
    of_query = dict(lists)
    assert rows.negatives.tolist() == [of_query[int(q)] for q in rows.queries]
    known = known_pairs(rows)
    for query, ids in zip(rows.queries.tolist(), rows.negatives, strict=True):
        assert all((query, rows.text_of_N[doc]) not in known for doc in ids[ids != PAD_ID])

"""A cross-encoder's scores, and negatives of each positive, on their way into a batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import BagOfWords, toy_dataset
from hypothesis import given
from hypothesis import strategies as st
from test_trainers_train import settings
from tiny_model import tiny_cross_encoder, tiny_model

from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.errors import PyriteError
from pyrite.core.mapped import Mapped
from pyrite.core.sbert import load_model
from pyrite.core.store import write_array
from pyrite.miner.mine import mine
from pyrite.miner.negatives_file import FILE
from pyrite.trainers.make_feed import make_feed
from pyrite.trainers.teacher import Teacher, open_teacher
from pyrite.trainers.train import train

N_DOCS = 7


def teacher_of(folder: Path, scores: dict[tuple[int, int], float]) -> Teacher:
    pairs = sorted(q * N_DOCS + d for q, d in scores)
    values = [scores[divmod(pair, N_DOCS)] for pair in pairs]
    write_array(folder / "pairs.npy", np.array(pairs, dtype=np.int64))
    write_array(folder / "log_odds.npy", np.array(values, dtype=np.float32))
    mapped = Mapped[np.int64](folder / "pairs.npy"), Mapped[np.float32](folder / "log_odds.npy")
    return Teacher(*mapped, N_DOCS)


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, N_DOCS - 1)),
        st.floats(-200, 200, width=32),
        max_size=12,
    ),
    st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.integers(-1, N_DOCS - 1), min_size=3, max_size=3)),
        min_size=1,
        max_size=5,
    ),
)
def test_scores_and_doubts_are_looked_up_by_pair(
    tmp_path_factory: pytest.TempPathFactory,
    scores: dict[tuple[int, int], float],
    rows: list[tuple[int, list[int]]],
) -> None:
    teacher = teacher_of(tmp_path_factory.mktemp("t"), scores)
    queries = np.array([q for q, _ in rows])
    docs = np.array([d for _, d in rows])
    found, doubts = teacher.scores(queries, docs), teacher.doubts(queries, docs)
    for at, (query, listed) in enumerate(rows):
        for column, doc in enumerate(listed):
            score = scores.get((query, doc))
            if score is None:
                assert math.isnan(found[at, column])
                assert doubts[at, column] == 0.0
            else:
                assert found[at, column] == np.float32(score)
                odds = math.exp(min(score, 80.0))
                assert doubts[at, column] == pytest.approx(odds / (1 + odds), abs=1e-6)


def test_a_file_of_scores_is_read_once_and_its_ids_are_checked(tmp_path: Path) -> None:
    dataset = open_dataset(
        DatasetConfig(path=str(toy_dataset(tmp_path / "toy"))), tmp_path / "cache"
    )
    path = tmp_path / "teacher.parquet"
    columns = {"query_id": ["q0001", "q0002"], "doc_id": ["d0003", "d0001"]}
    with pytest.raises(PyriteError, match=r"filters\.denoise\.model"):
        open_teacher(path, dataset, tmp_path / "kept", "key")
    pq.write_table(pa.table({**columns, "log_odds": np.array([1.5, -2], np.float32)}), path)
    for _ in range(2):
        teacher = open_teacher(path, dataset, tmp_path / "kept", "key")
        [query] = dataset.queries.ids.find(["q0002"])
        [doc] = dataset.corpus.ids.find(["d0001"])
        assert teacher.scores(np.array([query]), np.array([[doc, -1]]))[0, 0] == -2.0
    columns["doc_id"][0] = "nowhere"
    pq.write_table(pa.table({**columns, "log_odds": np.array([1.5, -2], np.float32)}), path)
    with pytest.raises(PyriteError, match="not in this dataset"):
        open_teacher(path, dataset, tmp_path / "kept", "another")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    toy_dataset(folder / "toy")
    tiny_model(folder / "tiny")
    tiny_cross_encoder(folder / "judge")
    return folder


def judged(home: Path) -> dict[str, Any]:
    rules = {"negative_below": 1.0, "positive_above": 1.0, "depth": 60, "max_length": 64}
    model = str(home / "judge" / "cross-encoder")
    return {"percent": None, "denoise": {"model": model, **rules}}


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"loss": {"name": "margin_mse", "similarity": "dot"}}, "teacher"),
        ({"loss": {"name": "kl"}}, "teacher"),
        ({"doubt": "cross-encoder"}, "doubt"),
    ],
    ids=str,
)
def test_what_the_cross_encoder_said_reaches_the_loss(
    home: Path, tmp_path: Path, changes: dict[str, Any], label: str
) -> None:
    config = settings(home, tmp_path, filters=judged(home), train=changes)
    trained = train(config)
    table = pq.read_table(trained.mined.folder / "teacher.parquet").to_pylist()
    scores = {(r["query_id"], r["doc_id"]): r["log_odds"] for r in table}
    rows, feed = make_feed(config, config.train, trained.mined, "mined", 3)
    model = load_model(config.encoder)
    batch = feed.collator(model.preprocess, {})([{"row": r} for r in range(16)])
    dataset = open_dataset(config.dataset, config.cache)
    examples = feed.drawer.examples(np.arange(16), 0, 0)
    docs = np.column_stack((examples.positives_B, examples.negatives_Bn))
    found = batch["label"][label].numpy()
    wanted = np.full(docs.shape, np.nan)
    for at, column in zip(*np.nonzero(docs >= 0), strict=True):
        [query] = dataset.queries.id_strings(rows.queries[at : at + 1])
        [doc] = dataset.corpus.id_strings(docs[at, column][None])
        wanted[at, column] = scores[query, doc]
    if label == "doubt":
        wanted = np.nan_to_num(1 / (1 + np.exp(-wanted)))[:, 1:]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert found.std() > 0


def test_each_positive_trains_with_the_negatives_mined_for_it(home: Path, tmp_path: Path) -> None:
    filters = {"percent": None, "margin": 0.02, "positive_score": "each"}
    config = settings(home, tmp_path, filters=filters, train={"draw": "static"})
    mined = mine(config, BagOfWords())
    pairs, feed = make_feed(config, config.train, mined, "mined", 3)
    dataset = open_dataset(config.dataset, config.cache)
    listed = {
        (r["query_id"], r["positive_id"]): r["negative_ids"]
        for r in pq.read_table(mined.folder / FILE).to_pylist()
    }
    assert pairs.queries.size == len(listed) == len(feed.dataset)
    drawn = feed.drawer.examples(np.arange(len(listed)), 0, 0)
    for row, query in enumerate(dataset.queries.id_strings(pairs.queries)):
        [positive] = dataset.corpus.id_strings(drawn.positives_B[row : row + 1])
        ids = drawn.negatives_Bn[row]
        assert dataset.corpus.id_strings(ids[ids >= 0]) == listed[query, positive]
    alike = {q for q, _ in listed if len({tuple(n) for (o, _), n in listed.items() if o == q}) > 1}
    assert alike, "no query whose positives differ in their negatives: the test shows nothing"

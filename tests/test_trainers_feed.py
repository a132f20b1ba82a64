from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from feed_setup import BATCH, FeedBench, random_pool
from torch.utils.data import DataLoader

from pyrite.core.errors import PyriteError
from pyrite.core.store import Manifest
from pyrite.core.tables import write_texts
from pyrite.core.text_file import NO_TEXT, TextFile
from pyrite.trainers.feed import Feed
from pyrite.trainers.pool import pool_folder, write_pool
from pyrite.trainers.row_table import asked_of
from pyrite.trainers.train_config import TrainSection


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> FeedBench:
    return FeedBench.build(tmp_path_factory.mktemp("bench"))


def as_text(texts: list[str], **options: Any) -> dict[str, Any]:
    """Stands for the model's tokenizer: the texts themselves."""
    return {"texts": texts}


def epoch_of(feed: Feed, epoch: int, workers: int = 0) -> list[dict[str, Any]]:
    feed.batches.set_epoch(epoch)
    collate = feed.collator(as_text, {})
    options: dict[str, Any] = {"batch_sampler": feed.batches, "collate_fn": collate}
    return list(DataLoader(feed.dataset, num_workers=workers, **options))


def documents(feed: Feed, epoch: int) -> dict[int, tuple[int, list[int]]]:
    """Each row's positive and negatives in an epoch, straight from the drawer."""
    rows = np.arange(len(feed.dataset))
    found = feed.drawer.examples(rows, epoch, epoch * feed.batches.clock.steps_per_epoch)
    return {
        int(r): (int(p), n.tolist())
        for r, p, n in zip(rows, found.positives_B, found.negatives_Bn, strict=True)
    }


def test_a_batch_holds_the_texts_and_numbers_of_what_was_drawn(bench: FeedBench) -> None:
    feed = bench.feed(n=3)
    queries, corpus = bench.dataset.queries, bench.dataset.corpus
    drawn = documents(feed, 1)
    batches = epoch_of(feed, 1)
    assert len(batches) == len(feed.batches) == 60 // BATCH
    for batch in batches:
        numbers, ids = batch["label"]["numbers"].tolist(), batch["label"]["ids"].tolist()
        for at, (row, turn) in enumerate(numbers):
            positive, negatives = drawn[row]
            query = int(bench.pairs.queries[row])
            assert turn == 0
            assert batch["query_texts"][at] == queries.texts([query])[0]
            assert batch["positive_texts"][at] == corpus.texts([positive])[0]
            assert positive == bench.pairs.positives[row]
            wanted = [query, bench.pairs.text_of_N[positive]]
            for number, negative in enumerate(negatives, start=1):
                text = corpus.texts([negative])[0] if negative >= 0 else NO_TEXT
                assert batch[f"negative_{number}_texts"][at] == text
                wanted.append(bench.pairs.text_of_N[negative] if negative >= 0 else -1)
            assert ids[at] == wanted


@pytest.mark.parametrize("draw", ["static", "rotate", "sample"])
def test_negatives_are_the_query_s_own_and_what_is_missing_is_masked(
    bench: FeedBench, draw: str
) -> None:
    feed = bench.feed(n=5, draw=draw)
    seen = []
    for epoch in range(3):
        for row, (_, negatives) in documents(feed, epoch).items():
            pool = bench.pool_of(int(bench.pairs.queries[row]))
            found = [i for i in negatives if i >= 0]
            assert set(found) <= set(pool)
            assert len(set(found)) == len(found) == min(5, len(pool))
            if draw == "static":
                assert found == pool[:5]
        seen.append(documents(feed, epoch))
    assert (seen[0] == seen[1]) == (draw == "static")


def test_a_rotation_shows_every_negative_once_before_any_twice(bench: FeedBench) -> None:
    feed = bench.feed(n=10)
    uses: dict[int, Counter[int]] = {row: Counter() for row in range(len(feed.dataset))}
    for epoch in range(2):
        for row, (_, negatives) in documents(feed, epoch).items():
            uses[row].update(i for i in negatives if i >= 0)
    for row, counts in uses.items():
        pool = bench.pool_of(int(bench.pairs.queries[row]))
        if len(pool) >= 20:
            assert set(counts.values()) == {1}
            assert len(counts) == 20


def test_the_seed_decides_the_draw(bench: FeedBench) -> None:
    ways: list[dict[str, Any]] = [{}, {"draw": "sample"}, {"positives": "one", "draw": "static"}]
    for options in ways:
        one, same, other = (bench.feed(seed=seed, **options) for seed in (0, 0, 1))
        assert documents(one, 0) == documents(same, 0)
        assert documents(one, 0) != documents(other, 0)


def test_one_row_a_query_meets_all_its_positives_in_turn(bench: FeedBench) -> None:
    feed = bench.feed(positives="one")
    queries = feed.drawer.rows.queries.array
    assert len(feed.dataset) == np.unique(bench.pairs.queries).size == queries.size
    seen: dict[int, set[int]] = {}
    for epoch in range(30):
        for row, (positive, _) in documents(feed, epoch).items():
            seen.setdefault(int(queries[row]), set()).add(positive)
    wanted: dict[int, set[int]] = {}
    for query, positive in zip(bench.pairs.queries, bench.pairs.positives, strict=True):
        wanted.setdefault(int(query), set()).add(int(positive))
    assert max(len(found) for found in wanted.values()) == 3
    assert seen == wanted


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    return torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


@pytest.mark.parametrize("draw", ["rotate", "sample"])
def test_the_number_of_workers_changes_nothing(bench: FeedBench, draw: str) -> None:
    alone, one, two = (
        [b for epoch in (0, 1) for b in epoch_of(bench.feed(draw=draw), epoch, workers)]
        for workers in (0, 1, 2)
    )
    assert len(alone) == 6
    assert all(equal(*pair) for pair in zip(alone, one, strict=True))
    assert all(equal(*pair) for pair in zip(alone, two, strict=True))


def test_a_worker_that_starts_afresh_gets_paths_not_arrays(bench: FeedBench) -> None:
    feed = bench.feed()
    whole = epoch_of(feed, 0)
    collate = feed.collator(as_text, {})
    data = pickle.dumps(collate)
    assert len(data) < 5000
    again = pickle.loads(data)
    rows = [{"row": row} for row in whole[2]["label"]["numbers"][:, 0].tolist()]
    assert equal(again(rows), whole[2])
    for mapped in (again.drawer.rows.text_of_N, again.drawer.rows.doc_hashes_N):
        assert isinstance(mapped.array, np.memmap)
    assert isinstance(again.drawer.pools[0].ids, np.memmap)


def rows_in(batches: list[dict[str, Any]]) -> list[list[int]]:
    return [batch["label"]["numbers"][:, 0].tolist() for batch in batches]


def test_each_row_comes_once_an_epoch_in_another_order(bench: FeedBench) -> None:
    feed = bench.feed()
    first, second = (rows_in(epoch_of(feed, epoch)) for epoch in (0, 1))
    for batches in (first, second):
        flat = [row for batch in batches for row in batch]
        assert len(set(flat)) == len(flat) == 48
    assert first != second
    assert rows_in(epoch_of(bench.feed(), 1)) == second
    assert rows_in(epoch_of(bench.feed(seed=1), 1)) != second


def test_similar_rows_meet_in_ngame_batches(bench: FeedBench) -> None:
    feed = bench.feed(batches="ngame", ngame={"double_at": [1, 2, 3, 4]})
    vectors = bench.vectors(feed.drawer.rows)

    def closeness(epoch: int) -> float:
        batches = rows_in(epoch_of(feed, epoch))
        assert Counter(len(set(batch)) for batch in batches) == {BATCH: 3}
        means = [(vectors[b] @ vectors[b].T).mean() for b in batches]
        return float(np.mean(means))

    assert closeness(4) > closeness(0) + 0.05
    # a cluster of one row each is a random order
    assert rows_in(epoch_of(feed, 0)) == rows_in(epoch_of(bench.feed(), 0))


def test_a_new_generation_is_drawn_from_at_its_step_and_not_before(bench: FeedBench) -> None:
    feed = bench.feed(draw="static", system="swap")
    queries = asked_of(bench.pairs)
    newer = random_pool(queries.query_rows, len(bench.dataset.corpus), seed=1)
    with pytest.raises(PyriteError, match=r"generation-000001: no such generation"):
        feed.point_to(1, 4)
    write_pool(bench.folder / "feed", 1, newer, queries, "newer")
    feed.point_to(1, 4)
    rows = np.arange(len(feed.dataset))
    places = feed.drawer.rows.places.array
    for step, mined in ((3, bench.mined), (4, newer), (50, newer)):
        found = feed.drawer.examples(rows, 1, step).negatives_Bn
        assert np.array_equal(found, mined.ids[places, :2])


def test_a_query_that_a_generation_lacks_has_an_empty_row(bench: FeedBench, tmp_path: Path) -> None:
    queries = asked_of(bench.pairs)
    fewer = random_pool(queries.query_rows[5:][::-1], 50, seed=2)
    manifest = write_pool(tmp_path, 7, fewer, queries, "key")
    counts = {
        "queries": queries.query_rows.size,
        "negatives": (fewer.ids >= 0).sum(),
        "queries_without": 6,
    }
    assert manifest.data["counts"] == counts
    assert manifest.data["generation"] == 7
    ids = np.load(pool_folder(tmp_path, 7) / "ids.npy")
    assert (ids[:5] == -1).all()
    assert np.array_equal(ids[5:], fewer.ids[::-1])


def test_a_damaged_generation_is_written_again(bench: FeedBench, tmp_path: Path) -> None:
    queries = asked_of(bench.pairs)
    wanted = write_pool(tmp_path, 0, bench.mined, queries, "key")
    path = pool_folder(tmp_path, 0) / "ids.npy"
    path.write_bytes(path.read_bytes()[:-8])
    assert write_pool(tmp_path, 0, bench.mined, queries, "key").data == wanted.data
    assert np.array_equal(np.load(path), bench.mined.ids)
    assert write_pool(tmp_path, 0, bench.mined, queries, "other").data["key"] == "other"
    assert Manifest.read(pool_folder(tmp_path, 0)) is not None


def test_texts_are_found_across_record_batches(tmp_path: Path) -> None:
    write_texts(tmp_path / "t.arrow", ((f"d{i}", f"text {i}") for i in range(25)), block=10)
    texts = TextFile(tmp_path / "t.arrow")
    rows = np.array([24, 0, 9, 10, -1, 19, 20, 10])
    assert texts.texts(rows) == [f"text {r}" if r >= 0 else NO_TEXT for r in rows]
    assert pickle.loads(pickle.dumps(texts)).texts(rows) == texts.texts(rows)


def test_replacing_needs_checks_further_apart_than_workers_look_ahead(bench: FeedBench) -> None:
    with pytest.raises(PyriteError, match=r"train\.replace\.every=5.*4 workers.*raise it to 10"):
        bench.feed(draw="replace", replace={"every": 5}, num_workers=4)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"replace": {"every": 7}}, "replace.every has no effect with draw=rotate"),
        ({"ngame": {"double_at": [3]}}, "ngame.double_at has no effect with batches=random"),
        ({"batches": "ngame", "ngame": {"double_at": [-1]}}, "epochs count from 0"),
        ({"draw": "replace", "loss": {"similarity": "dot"}}, "compares cosines"),
        ({"draw": "replace", "matryoshka_dims": [8]}, "compares cosines"),
    ],
)
def test_options_that_contradict_each_other_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TrainSection(**fields)

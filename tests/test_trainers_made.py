"""Made negatives in a training: beside the mined ones, behind the corpus, never alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from cli_setup import write_setup
from fakes import BagOfWords
from feed_setup import FeedBench
from made_cases import config as make_config
from made_cases import scripted
from quick import quick

from pyrite import load_config, make, mine, train
from pyrite.core.config import parse_config
from pyrite.core.dataset import DatasetConfig, open_dataset, text_hashes
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.core.text_file import NO_TEXT, JoinedTexts, TextFile
from pyrite.miner.made.made_file import MadeTexts, made_key, open_made
from pyrite.miner.negatives_file import NegativeRows
from pyrite.trainers.feed import Feed, open_feed
from pyrite.trainers.made_config import MadeSection
from pyrite.trainers.made_pool import MadePool, text_hashes_of, write_made_pool
from pyrite.trainers.make_feed import make_feed
from pyrite.trainers.masks import BatchIds, Known, query_to_doc
from pyrite.trainers.row_table import write_rows
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import TrainingSet, training_set

QUERIES: dict[str, Any] = {
    "kind": "queries",
    "writer": {"writer": "scripted", "scripted": {"function": "made_cases:write_variants"}},
    "checks": [scripted("judge"), scripted("second_judge")],
}


def made_for(folder: Path, **changes: Any) -> Path:
    """The folder of made negatives for the dataset `folder/data`."""
    return make(make_config(folder, **changes)).folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The setup of the command line with made passages and made queries."""
    folder = tmp_path_factory.mktemp("made")
    write_setup(folder)
    made_for(folder)
    made_for(folder, name="turned", **QUERIES)
    return folder


def passages(home: Path) -> str:
    return str(home / "runs" / "toy" / "made")


class Bench:
    """A feed of random mined negatives with made ones, and what plain look-ups say of both."""

    def __init__(self, folder: Path, n: int = 2) -> None:
        bench = FeedBench.build(folder)
        (folder / "data").symlink_to(folder / "toy")
        path = make(make_config(folder)).folder
        self.bench, self.dataset = bench, bench.dataset
        self.made = open_made(path, self.dataset.queries, self.dataset.corpus, "made.path")
        hashes = np.asarray(text_hashes(self.dataset.corpus, folder / "cache"))
        hashes = np.concatenate((hashes, text_hashes_of(self.made)))
        qrels = self.dataset.qrels("train")
        mined = NegativeRows(bench.mined.query_rows, bench.mined.ids)
        self.pairs: TrainingSet = training_set(qrels, mined, hashes, 0)
        ids = self.made.table.id_hashes()
        self.rows = write_rows(folder / "rows", self.pairs, self.dataset, "all", False, ids)
        self.pool: MadePool = write_made_pool(folder / "pool", self.made, self.dataset, n)
        self.folder = folder

    def feed(self, n: int = 3, **changes: Any) -> Feed:
        section = TrainSection(**{"batch_size": 16, **changes})
        arguments = (self.rows, self.dataset, None, section, n, 0)
        return open_feed(self.folder / "feed", *arguments, made=self.pool)

    def of_query(self, row: int) -> list[int]:
        """Document rows of the texts made for a query, by a plain loop."""
        pairs = zip(self.made.queries.tolist(), self.made.rows.tolist(), strict=True)
        return [len(self.dataset.corpus) + text for query, text in pairs if query == row]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def drawn(feed: Feed, rows: I64, epoch: int) -> I64:
    return feed.drawer.examples(rows, epoch, 0).negatives_Bn


def test_a_row_has_mined_negatives_and_made_ones_of_its_query(bench: Bench) -> None:
    feed, rows = bench.feed(), np.arange(len(bench.rows))
    assert feed.columns[-1] == "negative_5"
    found = drawn(feed, rows, 0)
    size = len(bench.dataset.corpus)
    plain = drawn(bench.bench.feed(3), rows, 0)
    assert np.array_equal(found[:, :3], plain)
    for row, query in enumerate(bench.rows.queries.array.tolist()):
        mine = found[row, 3:].tolist()
        if (found[row, :3] < 0).all():
            # nothing was mined for this one, and made negatives never stand alone
            assert mine == [-1, -1]
            continue
        assert len(set(mine)) == 2
        assert set(mine) <= set(bench.of_query(query))
        assert min(mine) >= size


def test_made_negatives_rotate_until_all_were_used(bench: Bench) -> None:
    feed, rows = bench.feed(), np.arange(len(bench.rows))
    epochs = [drawn(feed, rows, epoch)[:, 3:] for epoch in range(2)]
    for row, query in enumerate(bench.rows.queries.array.tolist()):
        used = [int(i) for epoch in epochs for i in epoch[row]]
        if -1 not in used:
            assert sorted(used) == sorted(bench.of_query(query))
    again = bench.feed()
    assert np.array_equal(drawn(again, rows[::-1], 1)[::-1, 3:], epochs[1])


def test_a_query_with_few_made_negatives_is_filled_with_none(bench: Bench, tmp_path: Path) -> None:
    pool = write_made_pool(tmp_path / "pool", bench.made, bench.dataset, 6)
    rows = np.arange(len(bench.rows))
    mined = np.zeros((rows.size, 1), dtype=np.int64)
    found = pool.draw(bench.rows, rows, mined, 5, 0)
    for row, query in enumerate(bench.rows.queries.array.tolist()):
        # all of them, in the order of the file
        assert found[row].tolist() == [*bench.of_query(query), -1, -1]
    no_rows = np.empty(0, dtype=np.int64)
    none = MadeTexts(bench.made.table, no_rows, no_rows, "none")
    empty = write_made_pool(tmp_path / "empty", none, bench.dataset, 2)
    assert (empty.draw(bench.rows, rows, mined, 0, 0) == -1).all()


def test_a_batch_has_the_texts_and_their_own_numbers(bench: Bench) -> None:
    feed = bench.feed()
    collator = feed.collator(lambda texts, **_: {"texts": texts}, {})
    rows = np.arange(16)
    found = feed.drawer.examples(rows, 0, 0)
    batch = collator.collate(rows, 0, 0)
    numbers = batch["label"]["ids"].numpy()
    size = len(bench.dataset.corpus)
    for row in rows:
        for at, doc in enumerate(found.negatives_Bn[row].tolist()):
            text = (
                NO_TEXT
                if doc < 0
                else bench.made.table.texts([doc - size])[0]
                if doc >= size
                else (bench.dataset.corpus.texts([doc])[0])
            )
            assert batch[f"negative_{at + 1}_texts"][row] == text
    made = numbers[:, 5:]
    assert made.max() < bench.pairs.span
    real = set(bench.pairs.text_of_N[:size].tolist())
    assert not real & set(made[made >= 0].tolist())


def test_a_made_negative_is_a_negative_of_every_query_of_the_batch(bench: Bench) -> None:
    known = Known(torch.from_numpy(bench.pairs.known), bench.pairs.span)
    batch = (
        bench.feed().collator(lambda texts, **_: {"texts": texts}, {}).collate(np.arange(8), 0, 0)
    )
    ids = BatchIds.of(batch["label"]["ids"])
    mask = query_to_doc(ids, known, torch.arange(8))
    made = torch.arange(8 * 4, 8 * 6)
    there = made[ids.docs_M[made] >= 0]
    first = {int(ids.docs_M[at]): int(at) for at in reversed(there.tolist())}
    assert mask[:, sorted(first.values())].all()


def test_rows_are_laid_out_again_for_other_made_texts(bench: Bench, tmp_path: Path) -> None:
    ids = bench.made.table.id_hashes()
    for hashes in (ids, ids + np.uint64(1)):
        rows = write_rows(tmp_path, bench.pairs, bench.dataset, "all", False, hashes)
        assert np.array_equal(rows.doc_hashes_N.array[len(bench.dataset.corpus) :], hashes)


def test_joined_texts_are_those_of_both_files(bench: Bench) -> None:
    corpus, made = bench.dataset.corpus, bench.made.table
    assert corpus.path is not None
    assert made.path is not None
    joined = JoinedTexts(TextFile(corpus.path), len(corpus), TextFile(made.path))
    rows = np.array([len(corpus), 0, -1, len(corpus) + 3, len(corpus) - 1])
    wanted = [made.texts([0])[0], corpus.texts([0])[0], NO_TEXT, made.texts([3])[0]]
    assert joined.texts(rows) == [*wanted, corpus.texts([len(corpus) - 1])[0]]


def test_texts_of_other_queries_are_refused(bench: Bench, tmp_path: Path) -> None:
    path = made_for(tmp_path)
    with pytest.raises(PyriteError, match=r"made\.path=.* made for other queries"):
        open_made(path, bench.dataset.queries, bench.dataset.corpus, "made.path")
    own = open_dataset(DatasetConfig(path=str(tmp_path / "data")), tmp_path / "cache")
    with pytest.raises(PyriteError, match="stands in the corpus too"):
        open_made(
            path, own.queries, open_made(path, own.queries, own.corpus, "k").table, "made.path"
        )
    (path / "made.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(PyriteError, match="damaged; run pyrite make again"):
        made_key(path, "made.path")


def settings(home: Path, runs: Path, **changes: Any) -> TrainConfig:
    fields: dict[str, Any] = yaml.safe_load((home / "config.yaml").read_text("utf-8"))
    return parse_config(TrainConfig, {**fields, "runs_dir": str(runs), **changes})


def test_in_batch_training_has_none(home: Path, tmp_path: Path) -> None:
    config = settings(home, tmp_path, made={"path": passages(home)})
    mined = mine(config, BagOfWords())
    for n, columns in ((0, 2), (2, 5)):
        _, feed = make_feed(config, config.train, mined, str(n), n, config.made)
        assert len(feed.columns) == columns


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"loss": {"name": "gist"}}}, "loss.name=gist needs vectors"),
        ({"train": {"distil_base": 0.5}}, "distil_base=0.5 needs vectors"),
        ({"train": {"draw": "replace"}, "sampler": {"n": 20}}, "draw=replace"),
        ({"train": {"kind": "cross-encoder"}}, "train.kind=cross-encoder has negatives"),
        (
            {"refresh": {"mode": "sync", "trigger": {"easy_share": 0.5}}},
            "easy_share would count them",
        ),
        ({"train": {"datasets": [{"dataset": {"path": "x"}}]}}, "no item of train.datasets"),
    ],
)
def test_what_needs_more_than_texts_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PyriteError, match=says):
        parse_config(TrainConfig, {"made": {"path": "x"}, **changes})


def test_an_item_has_the_run_s_own_only_for_the_run_s_own_dataset() -> None:
    entries: list[dict[str, Any]] = [
        {},
        {"dataset": {"path": "x"}},
        {"dataset": {"path": "y"}, "made": {"path": "z", "negatives": 2}},
    ]
    fields = {"made": {"path": "own"}, "train": {"datasets": entries}}
    runs = parse_config(TrainConfig, fields).set_runs()
    assert [run.made.path for run in runs] == ["own", None, "z"]


def weights(folder: Path) -> bytes:
    return (folder / "models" / "mined" / "model" / "model.safetensors").read_bytes()


def test_made_mined_and_trained(home: Path, tmp_path: Path) -> None:
    with quick():
        plain = train(settings(home, tmp_path, name="plain"))
        config = settings(home, tmp_path, name="made", made={"path": passages(home)})
        made = train(config)
        assert weights(plain.folder) != weights(made.folder)
        before = weights(made.folder)
        train(config)
        assert weights(made.folder) == before
    card = (made.folder / "models" / "mined" / "model" / "README.md").read_text("utf-8")
    assert "made negatives" in card


@pytest.mark.slow
def test_made_negatives_outlast_the_generations_of_mined_ones(home: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "refresh": {"mode": "sync", "every_steps": 2},
        "train": {"steps": 8, "batch_size": 4, "save_every": 8},
    }
    with quick():
        plain = train(settings(home, tmp_path, name="plain", **fields))
        done = train(settings(home, tmp_path, made={"path": passages(home)}, **fields))
    assert weights(done.folder) != weights(plain.folder)
    assert len(list((done.folder / "feed").glob("generation-*"))) >= 2
    assert (done.folder / "feed" / "made" / "manifest.json").is_file()


def test_made_queries_are_a_dataset_of_a_mixture(home: Path, tmp_path: Path) -> None:
    turned = home / "runs" / "turned" / "made"
    entry = {
        "dataset": {"path": str(turned / "reversed")},
        "made": {"path": str(turned), "negatives": 2},
        "query_prompt": "passage: ",
        "document_prompt": "query: ",
        "retrieve": {"depth": 10},
    }
    section = {"steps": 4, "batch_size": 4, "save_every": 4, "datasets": [{}, entry]}
    with quick():
        done = train(settings(home, tmp_path, train=section))
    assert (done.folder / "datasets" / "1" / "feed" / "made" / "manifest.json").is_file()


def test_the_page_s_training_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "made-negatives.md").read_text("utf-8")
    blocks = [yaml.safe_load(block.split("```")[0]) for block in page.split("```yaml\n")[1:]]
    found = [block for block in blocks if "checks" not in block]
    configs = []
    for number, block in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(block), encoding="utf-8")
        configs.append(load_config(TrainConfig, path))
    assert configs[0].made == MadeSection(path="runs/made/made", negatives=1)
    assert configs[1].train.datasets[1].made is not None

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fakes import SharedWords, toy_dataset
from quick import quick
from sentence_transformers import CrossEncoder
from tiny_model import tiny_cross_encoder, tiny_model

from pyrite.core.config import parse_config
from pyrite.core.cross_encoder import CrossEncoderConfig, CrossEncoderScorer
from pyrite.core.dataset import DatasetConfig, open_dataset
from pyrite.core.errors import PyriteError
from pyrite.core.ids import I64
from pyrite.core.tables import Qrels
from pyrite.eval.rerank import rerank
from pyrite.indexes.sources import SearchInputs
from pyrite.miner.mine import MineConfig, mine
from pyrite.miner.negatives_file import NegativeRows
from pyrite.trainers import train_reranker as module
from pyrite.trainers.reranker import (
    fit_reranker,
    judged_pairs,
    load_start,
    reranker_dataset,
)
from pyrite.trainers.reranker_config import RerankerSection
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train import Trained, train

MEASURES = ["ndcg@10", "recall@60"]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick(CrossEncoder):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reranker")
    toy_dataset(folder / "toy")
    tiny_model(folder / "tiny")
    return folder


def sections(home: Path, runs: Path, **reranker: Any) -> dict[str, Any]:
    model = str(home / "tiny" / "model")
    fixed = {"model": model, "max_length": 40, "steps": 6, "batch_size": 8, "save_every": 2}
    return {
        "name": "toy",
        "runs_dir": str(runs),
        "cache_dir": str(home / "cache"),
        "threads": 1,
        "seed": 3,
        "dataset": {"path": str(home / "toy")},
        "encoder": {"model": model, "max_length": 32},
        "retrieve": {"depth": 60},
        "filters": {"percent": None},
        "sampler": {"name": "topk", "n": 3},
        "train": {"kind": "cross-encoder"},
        "reranker": {**fixed, "learning_rate": 1e-3, "depth": 20, **reranker},
        "eval": {"measures": MEASURES},
    }


def run(home: Path, runs: Path, **reranker: Any) -> Trained:
    return train(parse_config(TrainConfig, sections(home, runs, **reranker)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = CrossEncoder(str(folder), device="cpu").state_dict()
    return found


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One run from the dataset to the table."""
    return run(home, tmp_path_factory.mktemp("runs"))


def reranked_oracle(scorer: Any, inputs: SearchInputs, ids: list[int], row: int) -> list[int]:
    query = inputs.queries.texts([row])
    names = inputs.corpus.id_strings(ids)
    texts = inputs.corpus.texts(ids)
    scores = [float(scorer.log_odds(query, [text])[0]) for text in texts]
    order = sorted(range(len(ids)), key=lambda k: (-scores[k], names[k]))
    return [ids[k] for k in order]


@pytest.mark.parametrize("depth", [1, 4, 9])
def test_reranking_sorts_the_head_and_leaves_the_rest(home: Path, depth: int) -> None:
    dataset = open_dataset(DatasetConfig(path=str(home / "toy")), home / "cache")
    rows = np.array([5, 0, 3])
    generator = np.random.default_rng(0)
    # with copies, which tie
    ids = np.stack([generator.permutation(24)[:7] for _ in rows]).astype(np.int64)
    ids[1, 5:] = -1
    ids[2, 2:] = -1
    inputs = SearchInputs(dataset.queries, dataset.corpus, rows, None, None)
    fake = SharedWords()
    found = rerank(fake, inputs, ids, depth, 64)
    for at, row in enumerate(rows.tolist()):
        head = [i for i in ids[at, :depth].tolist() if i >= 0]
        expected = reranked_oracle(SharedWords(), inputs, head, row)
        assert found[at].tolist() == expected + ids[at].tolist()[len(expected) :]
    if depth > 1:
        assert (found != ids).any()


def judged_world() -> tuple[Qrels, NegativeRows]:
    pairs = np.array([(0, 4), (0, 2), (1, 3), (2, 1)]).T
    qrels = Qrels.build(pairs[0], pairs[1], np.ones(4, dtype=np.int64), 4)
    ids = np.array([[7, 8, -1], [-1, -1, -1], [5, 6, 9]])
    return qrels, NegativeRows(np.array([0, 1, 2]), ids)


@pytest.mark.parametrize(("n", "missing"), [(1, 1), (2, 2), (3, 4)])
def test_missing_negatives_are_left_out_and_counted(n: int, missing: int) -> None:
    qrels, negatives = judged_world()
    found = judged_pairs(qrels, negatives, n)
    expected = []
    for at, row in enumerate(negatives.query_rows.tolist()):
        expected += [(row, doc, 1) for doc in qrels.positives(row).tolist()]
        expected += [(row, doc, 0) for doc in negatives.ids[at, :n].tolist() if doc >= 0]
    rows = zip(found.queries.tolist(), found.docs.tolist(), found.labels.tolist(), strict=True)
    assert list(rows) == expected
    assert found.missing == missing


def test_pairs_and_lists_hold_the_same_documents(home: Path) -> None:
    dataset = open_dataset(DatasetConfig(path=str(home / "toy")), home / "cache")
    judged = judged_pairs(*judged_world(), 3)
    pairs, none = reranker_dataset(judged, dataset, "binary-cross-entropy")
    assert none == 0
    assert pairs.column_names == ["query", "document", "label"]
    assert pairs["label"][:] == judged.labels.tolist()
    assert pairs["document"][:] == dataset.corpus.texts(judged.docs)
    lists, left_out = reranker_dataset(judged, dataset, "list-net")
    # the second query has no negative
    assert left_out == 1
    rows: list[I64] = [judged.docs[judged.queries == q] for q in (0, 2)]
    assert lists["documents"][:] == [dataset.corpus.texts(docs) for docs in rows]
    assert lists["label"][:] == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert lists["query"][:] == dataset.queries.texts([0, 2])


def test_a_run_trains_and_measures_the_reranker(whole: Trained, home: Path) -> None:
    assert list(whole.evaluations) == ["retriever", "reranked"]
    before, after = whole.evaluations["retriever"], whole.evaluations["reranked"]
    assert before.query_ids == after.query_ids
    assert (before.values["ndcg@10"] != after.values["ndcg@10"]).any()
    # the depth of 20 moves nothing over rank 60
    assert before.values["recall@60"].tolist() == after.values["recall@60"].tolist()
    results = json.loads((whole.folder / "results.json").read_text("utf-8"))
    assert results["systems"]["reranked"]["ndcg@10"] == after.means()["ndcg@10"]
    assert {c["a"] for c in results["comparisons"]} == {"reranked"}
    folder = whole.folder / "models" / "reranker" / "model"
    start = parse_config(TrainConfig, sections(home, home)).reranker
    first = load_start(start, 3).state_dict()
    trained = weights(folder)
    assert first.keys() == trained.keys()
    assert any(not torch.equal(first[name], trained[name]) for name in first)
    assert not list(folder.parent.glob("checkpoints*"))


def test_a_new_head_follows_from_the_seed_alone(home: Path) -> None:
    config = RerankerSection(model=str(home / "tiny" / "model"), max_length=40)
    heads = [load_start(config, seed).state_dict() for seed in (3, 3, 4)]
    name = next(n for n in heads[0] if "classifier.weight" in n)
    assert torch.equal(heads[0][name], heads[1][name])
    assert not torch.equal(heads[0][name], heads[2][name])


def test_a_finished_run_is_kept_and_other_settings_train_again(
    whole: Trained, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*arguments: Any) -> float:
        calls.append(arguments)
        return fit_reranker(*arguments)

    monkeypatch.setattr(module, "fit_reranker", counted)
    again = run(home, whole.folder.parent)
    assert not calls
    assert again.results() == whole.results()
    run(home, whole.folder.parent, depth=10)
    assert not calls
    run(home, home / "other", learning_rate=2e-3, steps=1)
    assert len(calls) == 1


class KilledError(Exception):
    """Stands for a kill in the middle of training."""


def test_a_killed_training_goes_on_to_the_same_weights(
    whole: Trained, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    forward, steps = BinaryCrossEntropyLoss.forward, 0

    def killed(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KilledError
        return forward(*args, **kwargs)

    monkeypatch.setattr(BinaryCrossEntropyLoss, "forward", killed)
    with pytest.raises(KilledError):
        run(home, tmp_path)
    run(home, tmp_path)
    # two steps were in the checkpoint; the third is done again
    assert steps == 4 + 4
    expected = weights(whole.folder / "models" / "reranker" / "model")
    found = weights(tmp_path / "toy" / "models" / "reranker" / "model")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("loss", ["lambda", "list-net"])
def test_listwise_losses_train(home: Path, tmp_path: Path, loss: str) -> None:
    trained = run(home, tmp_path, loss=loss, steps=2, batch_size=4)
    folder = trained.folder / "models" / "reranker"
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["training_loss"] > 0


def test_the_trained_reranker_denoises_the_next_mining(whole: Trained, home: Path) -> None:
    path = whole.folder / "models" / "reranker" / "model"
    settings = sections(home, whole.folder.parent)
    del settings["train"], settings["reranker"], settings["eval"]
    denoise = {
        "model": str(path),
        "max_length": 40,
        "depth": 10,
        "calibrate": "positives_quantile",
        "quantile": 0.5,
    }
    settings |= {"name": "denoised", "filters": {"percent": None, "denoise": denoise}}
    mined = mine(parse_config(MineConfig, settings))
    threshold = mined.manifest.data["denoise"]["threshold"]
    assert 0 < mined.tally.reasons["DENOISED"] < mined.tally.candidates
    assert mined.tally.drawn > 0
    dataset = open_dataset(DatasetConfig(path=str(home / "toy")), home / "cache")
    scorer = CrossEncoderScorer(str(path), CrossEncoderConfig(max_length=40), "x")
    for row in pq.read_table(mined.folder / "negatives.parquet").to_pylist():
        query = dataset.queries.texts(dataset.queries.ids.find([row["query_id"]]))
        for doc in row["negative_ids"]:
            text = dataset.corpus.texts(dataset.corpus.ids.find([doc]))
            odds = float(scorer.log_odds(query, text)[0])
            assert 1 / (1 + np.exp(-odds)) < threshold + 1e-6


def test_what_cannot_be_trained_is_one_sentence(home: Path, tmp_path: Path) -> None:
    two = tiny_cross_encoder(tmp_path / "two", 2)
    for changes, says in (
        ({"batch_size": 999}, r"reranker\.batch_size=999.*training rows.*at most"),
        ({"model": str(two)}, r"reranker\.model=.*with 1 label"),
        ({"model": str(tmp_path / "no")}, r"reranker\.model=.*not loadable"),
        ({"max_length": 65}, r"reranker\.max_length=65.*64 positions"),
    ):
        with pytest.raises(PyriteError, match=says):
            run(home, tmp_path / "runs", **changes)
    settings = sections(home, tmp_path / "runs")
    settings["filters"] = {"max_score": -1.0, "percent": None}
    with pytest.raises(PyriteError, match=r"no negative.*on_short"):
        train(parse_config(TrainConfig, settings))
    with pytest.raises(PyriteError, match=r"reranker\.negatives=4.*sampler\.n=3"):
        parse_config(TrainConfig, sections(home, tmp_path, negatives=4))

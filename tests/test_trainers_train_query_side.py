from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import write_dataset
from quick import quick
from tiny_model import tiny_model
from torch import Tensor

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.query_encoder import document_encoder
from pyrite.core.run import prepare
from pyrite.core.sbert import SentenceTransformerEncoder, load_model
from pyrite.core.store import Manifest
from pyrite.eval.evaluate import evaluate
from pyrite.eval.search import evaluate_encoder
from pyrite.miner.mine import mine
from pyrite.trainers import train_query_side as module
from pyrite.trainers.early_stopping import DevEvaluator
from pyrite.trainers.query_side import QuerySideLoss
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train import Trained, train

TOPICS, SAME = 5, 8
MEASURE = "ndcg@10"


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


def topics(folder: Path) -> Path:
    """Queries have other words than the documents of their topic: what there is to be learnt."""
    draw = np.random.default_rng(0)

    def text(first: int) -> str:
        return " ".join(f"w{first + i}" for i in draw.integers(0, 4, size=6))

    corpus = {f"d{i:02d}": text(4 * (i % TOPICS)) for i in range(TOPICS * SAME)}
    queries = {f"q{i:02d}": text(40 + 4 * (i % TOPICS)) for i in range(40)}
    qrels: dict[str, list[tuple[str, str, int]]] = {"train": [], "dev": [], "test": []}
    for i, query in enumerate(queries):
        split = "dev" if i >= 35 else "test" if i >= 25 else "train"
        qrels[split] += [(query, d, 1) for j, d in enumerate(corpus) if j % TOPICS == i % TOPICS]
    return write_dataset(folder, corpus, queries, qrels)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query-side")
    topics(folder / "data")
    tiny_model(folder / "tiny")
    return folder


def settings(home: Path, runs: Path, **changes: Any) -> TrainConfig:
    sections: dict[str, Any] = {
        "name": "toy",
        "runs_dir": str(runs),
        "cache_dir": str(home / "cache"),
        "threads": 1,
        "dataset": {"path": str(home / "data")},
        "encoder": {"model": str(home / "tiny" / "model"), "max_length": 32},
        "retrieve": {"depth": 20},
        "sampler": {"name": "topk", "n": 1},
        "eval": {"measures": [MEASURE]},
        "train": {
            "kind": "query-side",
            "neg_topk": 40,
            "loss": {"name": "lambda_rank"},
            "steps": 20,
            "batch_size": 5,
            "learning_rate": 3e-3,
            "save_every": 8,
        },
    }
    for name, change in changes.items():
        sections[name] = {**sections.get(name, {}), **change}
    return parse_config(TrainConfig, sections)


@pytest.fixture(scope="module")
def done(home: Path) -> Trained:
    return train(settings(home, home / "runs"))


def test_training_raises_what_it_is_for(done: Trained) -> None:
    base, tuned = (done.evaluations[name].means()[MEASURE] for name in ("base", "query_side"))
    assert base < 0.5
    assert tuned > base + 0.3
    assert list(done.results()["systems"]) == ["base", "query_side"]
    assert [(c.a, c.b) for c in done.comparisons] == [("query_side", "base")]


def test_the_documents_are_those_of_the_base(done: Trained, home: Path) -> None:
    config = settings(home, home / "runs")
    base = SentenceTransformerEncoder(config.encoder)
    folder = done.folder / "models" / "query_side"
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)
    assert manifest.data["document_encoder"] == {
        "model": config.encoder.model,
        "fingerprint": base.fingerprint,
    }
    stored = prepare(config, base, "test")
    assert manifest.data["document_vectors"] == stored.corpus.identity
    tuned = SentenceTransformerEncoder(
        config.encoder.model_copy(update={"model": str(folder / "model")})
    )
    texts = stored.dataset.queries.texts(stored.queries.rows)
    scores = tuned.encode_queries(texts) @ stored.corpus.take(np.arange(40)).T
    grades = np.arange(40)[None, :] % TOPICS == stored.queries.rows[:, None] % TOPICS
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    gains = np.take_along_axis(grades, order, axis=1) / np.log2(np.arange(2, 12))
    ideal = (1 / np.log2(np.arange(2, 2 + SAME))).sum()
    found = done.evaluations["query_side"].values[MEASURE]
    assert found == pytest.approx(gains.sum(axis=1) / ideal, abs=1e-6)
    card = (folder / "model" / "README.md").read_text("utf-8")
    assert f"documents must be encoded by: `{config.encoder.model}`" in card
    assert "no encoder of documents" in card


def test_a_finished_run_is_kept(done: Trained, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> float:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "fit", refuse)
    assert train(settings(home, home / "runs")).results() == done.results()
    for change in ({"steps": 21}, {"neg_topk": 39}, {"loss": {"name": "lambda_rank", "cut": 9}}):
        with pytest.raises(AssertionError, match="trained again"):
            train(settings(home, home / "runs", train=change))


class KilledError(Exception):
    """Stands for a kill in the middle of training."""


def test_a_killed_training_ends_with_the_same_bytes(
    done: Trained, home: Path, tmp_path: Path
) -> None:
    steps: list[list[int]] = []
    of_queries = QuerySideLoss.of_queries

    def step(loss: QuerySideLoss, queries: Tensor, labels: Tensor) -> Tensor:
        steps.append(labels.tolist())
        if len(steps) == 12:
            raise KilledError
        return of_queries(loss, queries, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuerySideLoss, "of_queries", step)
        with pytest.raises(KilledError):
            train(settings(home, tmp_path))
        again = train(settings(home, tmp_path))
    # eight steps were in the checkpoint
    assert len(steps) == 12 + 12
    assert steps[8:11] == steps[12:15]
    assert again.results() == done.results()
    whole, resumed = (t.folder / "models" / "query_side" for t in (done, again))
    left, right = (json.loads((f / "manifest.json").read_text("utf-8")) for f in (whole, resumed))
    assert left["files"] == right["files"]
    assert left["key"] == right["key"]


def test_the_frozen_vectors_stay_the_same_bytes(done: Trained, home: Path) -> None:
    config = settings(home, home / "runs")
    before = mine(config).manifest.data["inputs"]["candidates"]
    folders = list((home / "cache" / "embeddings").iterdir())
    for folder in folders:
        manifest = Manifest.read(folder)
        assert manifest is not None
        assert manifest.intact(folder)
    assert done.mined.manifest.data["inputs"]["candidates"] == before
    # one table of documents, whatever encoded the queries
    sizes = [np.load(f / "emb-00000.npy", mmap_mode="r").shape[0] for f in folders]
    assert sizes.count(40) == 1


def test_eval_takes_the_query_encoder_and_the_base_s_documents(
    done: Trained, home: Path, tmp_path: Path
) -> None:
    model = str(done.folder / "models" / "query_side" / "model")
    found = evaluate(settings(home, tmp_path, eval={"query_model": model}))
    trained = done.evaluations["query_side"].means()
    assert {m: v for m, v in found.means().items() if m != "judged@10"} == trained
    shown = json.loads((tmp_path / "toy" / "eval" / "results.json").read_text("utf-8"))
    assert shown["query_model"] == model


def test_a_missing_store_is_made_again_by_the_base_alone(
    done: Trained, home: Path, tmp_path: Path
) -> None:
    roles: list[tuple[str, str]] = []
    encode = SentenceTransformerEncoder._encode

    def record(self: SentenceTransformerEncoder, texts: Any, role: Any) -> Any:
        roles.append((Path(self.config.model).parent.name, role))
        return encode(self, texts, role)

    model = str(done.folder / "models" / "query_side" / "model")
    config = settings(home, tmp_path, eval={"query_model": model})
    config = config.model_copy(update={"cache_dir": str(tmp_path / "cache")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SentenceTransformerEncoder, "_encode", record)
        found = evaluate(config)
    assert set(roles) == {("tiny", "document"), ("query_side", "query")}
    trained = done.evaluations["query_side"].means()
    assert {m: v for m, v in found.means().items() if m != "judged@10"} == trained


@pytest.mark.parametrize("content", ["[1]", "{", '{"kind": "model"}', '{"document_encoder": 1}'])
def test_a_manifest_that_is_not_ours_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "manifest.json").write_text(content, "utf-8")
    assert document_encoder(str(tmp_path / "model")) is None
    assert document_encoder(str(tmp_path / "nowhere")) is None


def test_other_documents_than_the_base_s_are_refused(
    done: Trained, home: Path, tmp_path: Path
) -> None:
    model = str(done.folder / "models" / "query_side" / "model")
    for encoder in ({"max_length": 16}, {"model": str(tiny_model(tmp_path / "b", seed=1))}):
        changed = settings(home, tmp_path, encoder=encoder, eval={"query_model": model})
        with pytest.raises(PyriteError, match=r"eval\.query_model=.*documents encoded by"):
            evaluate(changed)
    alone = settings(home, tmp_path, encoder={"model": model})
    for verb in (evaluate, mine, train):
        with pytest.raises(PyriteError, match=r"for queries only.*set encoder\.model=.*tiny"):
            verb(alone)
    with pytest.raises(PyriteError, match=r"eval\.query_model=.*pyrite eval"):
        train(settings(home, tmp_path, eval={"query_model": model}))


def test_a_query_encoder_of_unknown_origin_is_warned_about(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = str(tiny_model(tmp_path / "other", seed=1))
    evaluate(settings(home, tmp_path, eval={"query_model": other}))
    assert "no manifest beside it" in caplog.text


def test_the_dev_split_is_measured_on_the_frozen_documents(
    done: Trained, home: Path, tmp_path: Path
) -> None:
    stopping = {"split": "dev", "every": 4, "measure": MEASURE}
    config = settings(home, tmp_path, train={"early_stopping": stopping, "steps": 8})
    base = SentenceTransformerEncoder(config.encoder)
    corpus = prepare(config, base, "dev").corpus
    path = str(done.folder / "models" / "query_side" / "model")
    tuned = load_model(config.encoder.model_copy(update={"model": path}))
    found = DevEvaluator(config, config.train.early_stopping, corpus)(tuned)
    dev = settings(home, tmp_path, eval={"query_model": path}, dataset={"eval_split": "dev"})
    wanted = evaluate_encoder(dev, base).means()[MEASURE]
    assert found == {f"dev_{MEASURE}": pytest.approx(wanted, abs=1e-9)}
    trained = train(config)
    manifest = Manifest.read(trained.folder / "models" / "query_side")
    assert manifest is not None
    assert manifest.data["best_step"] in (4, 8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"loss": {}}}, r"loss\.name=info_nce.*set train\.loss\.name=lambda_rank"),
        (
            {"train": {"negatives": 1}},
            r"train\.negatives has no effect with train\.kind",
        ),
        ({"train": {"mini_batch_size": 2}}, r"train\.mini_batch_size has no effect"),
        ({"train": {"positives": "one"}}, r"train\.positives has no effect"),
        ({"train": {"kind": "encoder"}}, r"train\.neg_topk has no effect with train\.kind=encoder"),
        ({"encoder": {"normalize": False}}, r"similarity=cos.*set train\.loss\.similarity=dot"),
    ],
)
def test_settings_that_do_not_agree_are_refused(
    home: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(PyriteError, match=says):
        settings(home, home / "runs", **changes)

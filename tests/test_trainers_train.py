from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fakes import toy_dataset
from quick import quick
from tiny_model import tiny_model
from torch import Tensor

from pyrite.core.config import parse_config
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import SentenceTransformerEncoder, load_model
from pyrite.core.store import Manifest
from pyrite.eval.compare import CompareOptions, compare_runs
from pyrite.eval.config import EvalConfig
from pyrite.eval.measures import F64
from pyrite.eval.search import evaluate_encoder
from pyrite.eval.significance import paired_interval
from pyrite.trainers import train as module
from pyrite.trainers.feed import Feed
from pyrite.trainers.fit import fit
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.make_loss import make_loss
from pyrite.trainers.run_config import TrainConfig
from pyrite.trainers.train import Trained, train
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import TrainingSet

SYSTEMS = ["base", "in_batch", "mined"]
# so deep that every change of a ranking shows in it
MEASURES = ["ndcg@100", "recall@20"]
PAIRS = [("in_batch", "base"), ("mined", "base"), ("mined", "in_batch")]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy dataset and a model, whose runs share one cache."""
    folder = tmp_path_factory.mktemp("train")
    toy_dataset(folder / "toy")
    tiny_model(folder / "tiny")
    return folder


def settings(home: Path, runs: Path, **changes: Any) -> TrainConfig:
    """A run of four steps below `runs`; `changes` are merged into the sections."""
    sections: dict[str, Any] = {
        "name": "toy",
        "runs_dir": str(runs),
        "cache_dir": str(home / "cache"),
        "threads": 1,
        "seed": 3,
        "dataset": {"path": str(home / "toy")},
        "encoder": {"model": str(home / "tiny" / "model"), "max_length": 32},
        "retrieve": {"depth": 60},
        "filters": {"percent": None},
        "sampler": {"n": 3},
        "train": {"steps": 4, "batch_size": 16, "learning_rate": 1e-3},
        "eval": {"measures": MEASURES},
    }
    for name, change in changes.items():
        sections[name] = {**sections[name], **change} if isinstance(change, dict) else change
    return parse_config(TrainConfig, sections)


class Recorder:
    """What each training got: its folder, its rows, and the batches in the order of the steps."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.systems: list[str] = []
        self.keys: list[str] = []
        self.rows: list[TrainingSet] = []
        self.columns: list[list[str]] = []
        self.batches: list[list[list[list[int]]]] = []
        self.prompts: list[dict[str, str]] = []
        forward = ContrastiveLoss.forward

        def record_step(loss: ContrastiveLoss, features: Any, labels: dict[str, Tensor]) -> Tensor:
            self.batches[-1].append(labels["ids"].tolist())
            return forward(loss, features, labels)

        patch.setattr(module, "fit", self.fit)
        patch.setattr(module, "make_loss", self.make_loss)
        patch.setattr(ContrastiveLoss, "forward", record_step)

    def make_loss(self, *args: Any) -> torch.nn.Module:
        rows = args[-1]
        assert isinstance(rows, TrainingSet)
        self.rows.append(rows)
        return make_loss(*args)

    def fit(self, model: Any, loss: Any, feed: Feed, *rest: Any, **options: Any) -> float:
        self.systems.append(Path(rest[1]).name)
        self.keys.append(rest[2])
        self.columns.append(feed.columns)
        self.batches.append([])
        self.prompts.append(rest[-1])
        return fit(model, loss, feed, *rest, **options)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@pytest.fixture(scope="module")
def done(home: Path) -> tuple[Trained, Recorder]:
    """One training run that the tests below only read, and what its trainings got."""
    with pytest.MonkeyPatch.context() as patch:
        recorder = Recorder(patch)
        return train(settings(home, home / "runs")), recorder


def results_of(folder: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = (folder / "results.json").read_text("utf-8")
    result: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return result


def per_query_of(folder: Path) -> dict[str, Any]:
    columns: dict[str, Any] = pq.read_table(folder / "per_query.parquet").to_pydict()
    return columns


def values_of(folder: Path, system: str, measure: str) -> F64:
    return np.array(per_query_of(folder)[f"{system} {measure}"])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_results_hold_every_system_and_every_comparison(done: tuple[Trained, Recorder]) -> None:
    trained = done[0]
    result = results_of(trained.folder)
    assert result == trained.results()
    assert list(result["systems"]) == SYSTEMS
    assert all(list(means) == MEASURES for means in result["systems"].values())
    found = [(c["a"], c["b"], c["measure"]) for c in result["comparisons"]]
    assert found == [(a, b, m) for (a, b), m in itertools.product(PAIRS, MEASURES)]


def test_results_follow_from_the_values_of_each_query(done: tuple[Trained, Recorder]) -> None:
    folder = done[0].folder
    result = results_of(folder)
    columns = per_query_of(folder)
    assert list(columns) == ["query_id", *(f"{s} {m}" for s in SYSTEMS for m in MEASURES)]
    assert columns["query_id"] == [f"q{i:04d}" for i in range(0, 40, 4)]
    for system, measure in itertools.product(SYSTEMS, MEASURES):
        mean = values_of(folder, system, measure).mean()
        assert result["systems"][system][measure] == pytest.approx(mean, abs=1e-12)
    for entry in result["comparisons"]:
        a, b = (values_of(folder, entry[side], entry["measure"]) for side in ("a", "b"))
        assert entry["difference"] == pytest.approx((a - b).mean(), abs=1e-12)
        assert entry["ci95"] == pytest.approx(paired_interval(a - b, seed=3), abs=1e-12)
        assert entry["ci95"][0] <= entry["difference"] <= entry["ci95"][1]
        assert entry["queries"] == 10


def test_pyrite_compare_reads_the_run(done: tuple[Trained, Recorder], home: Path) -> None:
    folder = done[0].folder
    found = compare_runs([str(folder)], CompareOptions(slices=["length"], worst=2, seed=3))
    assert list(found.systems.values) == SYSTEMS
    assert [c.as_json() for c in found.comparisons] == results_of(folder)["comparisons"]
    assert sum(part.queries for part in found.slicings[0].slices) == 10
    # nothing is known of what was ranked
    assert all(one.top_a is None for pair in found.worst for one in pair.queries)
    again = compare_runs([f"one={folder}", f"two={folder}"])
    assert list(again.systems.values) == [f"{n}/{s}" for n in ("one", "two") for s in SYSTEMS]
    with pytest.raises(PyriteError, match=r"keeps no ranking of base.*models/base/model"):
        compare_runs([str(folder)], CompareOptions(stability=True))


def test_the_manifest_seals_the_results(done: tuple[Trained, Recorder], home: Path) -> None:
    folder = done[0].folder
    assert folder == home / "runs" / "toy"
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)
    assert sorted(manifest.data["files"]) == ["per_query.parquet", "results.json"]
    assert manifest.data["counts"] == {"held_out_queries": 10}
    inputs = manifest.data["inputs"]
    assert inputs["negatives"] == done[0].mined.manifest.data["key"]
    assert sorted(inputs["data"]) == ["corpus", "qrels", "queries"]


def test_both_trainings_see_the_same_pairs_in_the_same_order(
    done: tuple[Trained, Recorder],
) -> None:
    seen = done[1]
    assert seen.systems == ["in_batch", "mined"]
    in_batch, mined = seen.columns
    assert in_batch == ["query", "positive"]
    assert mined == ["query", "positive", "negative_1", "negative_2", "negative_3"]
    short, long = seen.batches
    assert len(short) == len(long) == 4
    for left, right in zip(short, long, strict=True):
        assert len(left) == 16
        assert left == [row[:2] for row in right]


def test_mined_negatives_reach_the_loss_and_no_positive_does(
    done: tuple[Trained, Recorder],
) -> None:
    rows, batches = done[1].rows[1], done[1].batches[1]
    known = set(rows.known.tolist())
    labels = [row for batch in batches for row in batch]
    assert sum(number >= 0 for row in labels for number in row[2:]) > 100
    for query, positive, *negatives in labels:
        assert query * rows.span + positive in known
        assert all(query * rows.span + n not in known for n in negatives if n >= 0)


def test_each_system_is_evaluated_with_its_own_weights(
    done: tuple[Trained, Recorder], home: Path
) -> None:
    folder = done[0].folder
    models = {"base": home / "tiny" / "model"}
    models |= {name: folder / "models" / name / "model" for name in SYSTEMS[1:]}
    config = settings(home, home / "runs")
    weights = {}
    for system, path in models.items():
        encoder = config.encoder.model_copy(update={"model": str(path)})
        fields = {**config.model_dump(), "encoder": encoder.model_dump()}
        own = EvalConfig(**{k: v for k, v in fields.items() if k in EvalConfig.model_fields})
        found = evaluate_encoder(own, SentenceTransformerEncoder(encoder))
        for measure in MEASURES:
            assert found.values[measure].tolist() == values_of(folder, system, measure).tolist()
        weights[system] = next(load_model(encoder).parameters()).detach().clone()
    for left, right in itertools.combinations(SYSTEMS, 2):
        assert not torch.equal(weights[left], weights[right])


def test_a_second_run_trains_nothing(
    done: tuple[Trained, Recorder], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> float:
        raise AssertionError("trained again")

    before = bytes_of(done[0].folder)
    monkeypatch.setattr(module, "fit", refuse)
    again = train(settings(home, home / "runs"))
    assert again.results() == done[0].results()
    assert again.mined.reused
    assert bytes_of(done[0].folder) == before


def test_a_second_run_trains_only_what_is_missing_or_changed(
    done: tuple[Trained, Recorder], home: Path, tmp_path: Path, recorder: Recorder
) -> None:
    first = train(settings(home, tmp_path))
    # another folder of runs: nothing but the cache is shared, and the results are the same
    assert recorder.systems == ["in_batch", "mined"]
    assert first.results() == done[0].results()
    weights = first.folder / "models" / "in_batch" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert train(settings(home, tmp_path)).results() == first.results()
    assert recorder.systems[2:] == ["in_batch"]
    faster = train(settings(home, tmp_path, train={"learning_rate": 5e-3}))
    assert recorder.systems[3:] == ["in_batch", "mined"]
    assert faster.mined.reused
    assert faster.results() != first.results()


class StoppedError(Exception):
    """Stands for a kill."""


def training_key(config: TrainConfig) -> str:
    """The key of the first training of a run, which is not carried out."""
    keys: list[str] = []

    def stop(*args: Any, **options: Any) -> float:
        keys.append(args[5])
        raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit", stop)
        with pytest.raises(StoppedError):
            train(config)
    return keys[0]


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"sampler": {"n": 2}}, {"train": {"steps": 5}}, {"encoder": {"max_length": 16}}],
    ids=str,
)
def test_whatever_shapes_a_training_is_in_its_key(
    done: tuple[Trained, Recorder], home: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert training_key(settings(home, tmp_path, **change)) != done[1].keys[0]


def test_the_key_of_a_training_follows_the_weights_and_no_name(
    done: tuple[Trained, Recorder], home: Path, tmp_path: Path
) -> None:
    in_batch, mined = done[1].keys
    assert in_batch != mined
    copy = shutil.copytree(home / "tiny" / "model", tmp_path / "copy")
    same = settings(home, tmp_path / "runs", name="x", encoder={"model": str(copy)})
    assert training_key(same) == in_batch
    other = tiny_model(tmp_path / "other", seed=1)
    assert training_key(settings(home, tmp_path, encoder={"model": str(other)})) != in_batch


def test_a_run_killed_while_its_results_were_written_has_no_manifest(
    done: tuple[Trained, Recorder], home: Path, tmp_path: Path
) -> None:
    def stop(*args: object) -> None:
        raise StoppedError

    folder = Path(shutil.copytree(done[0].folder, tmp_path / "toy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_json", stop)
        with pytest.raises(StoppedError):
            train(settings(home, tmp_path))
    assert Manifest.read(folder) is None
    train(settings(home, tmp_path))
    assert bytes_of(folder).keys() == bytes_of(done[0].folder).keys()


def test_a_failure_between_the_trainings_keeps_the_first(
    done: tuple[Trained, Recorder], home: Path, tmp_path: Path, recorder: Recorder
) -> None:
    def fail_on_mined(*args: Any, **options: Any) -> float:
        if "negative_1" in args[2].columns:
            raise StoppedError
        return recorder.fit(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit", fail_on_mined)
        with pytest.raises(StoppedError):
            train(settings(home, tmp_path))
    assert not (tmp_path / "toy" / "results.json").exists()
    assert recorder.systems == ["in_batch"]
    assert train(settings(home, tmp_path)).results() == done[0].results()
    assert recorder.systems == ["in_batch", "mined"]


def test_fewer_negatives_than_mined_and_prompts_reach_the_training(
    home: Path, tmp_path: Path, recorder: Recorder
) -> None:
    changes: dict[str, Any] = {
        "train": {"negatives": 1, "steps": 1},
        "encoder": {"query_prompt": "w1 ", "document_prompt": ""},
    }
    train(settings(home, tmp_path, **changes))
    assert recorder.columns[1] == ["query", "positive", "negative_1"]
    assert recorder.prompts == [{"query": "w1 "}] * 2


def test_a_single_held_out_query_has_no_interval(home: Path, tmp_path: Path) -> None:
    data = toy_dataset(tmp_path / "data")
    path = data / "qrels" / "test.tsv"
    path.write_text("\n".join(path.read_text("utf-8").splitlines()[:2]) + "\n", "utf-8")
    changes: dict[str, Any] = {"dataset": {"path": str(data)}, "train": {"steps": 1}}
    trained = train(settings(home, tmp_path / "runs", **changes))
    comparisons = results_of(trained.folder)["comparisons"]
    assert [(entry["ci95"], entry["queries"]) for entry in comparisons] == [(None, 1)] * 6


def test_more_negatives_than_are_mined_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match=r"train\.negatives=4.*sampler\.n=3"):
        settings(home, tmp_path, train={"negatives": 4})
    assert settings(home, tmp_path, train={"negatives": 3}).train.negatives == 3


def test_too_few_pairs_for_a_batch_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PyriteError, match=r"train\.batch_size=64"):
        train(settings(home, tmp_path, train={"batch_size": 64}))
    assert TrainSection(batch_size=64).negatives is None

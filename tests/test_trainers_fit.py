from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from fakes import toy_dataset
from quick import quick
from tiny_model import tiny_model
from torch import Tensor

from pyrite.core.dataset import DatasetConfig, open_dataset, text_hashes
from pyrite.core.errors import PyriteError
from pyrite.core.sbert import EncoderConfig, load_model
from pyrite.core.store import Manifest
from pyrite.miner.negatives_file import NegativeRows
from pyrite.trainers import fit as module
from pyrite.trainers.fit import finished, fit, set_dropout
from pyrite.trainers.loss import ContrastiveLoss
from pyrite.trainers.masks import Known
from pyrite.trainers.train_config import TrainSection
from pyrite.trainers.training_set import TrainingSet, as_dataset, training_set

if TYPE_CHECKING:
    import datasets

PAIRS, BATCH = 60, 16  # three steps are an epoch
Weights = dict[str, Tensor]
Batches = list[list[list[int]]]


class KilledError(Exception):
    """Stands for a kill in the middle of training."""


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    # of this scope, so that it comes before `whole`: another number of threads rounds otherwise
    with quick():
        yield


@dataclass(frozen=True)
class Bench:
    """A model with dropout 0.1 and the training rows of the toy dataset."""

    model: Path
    rows: TrainingSet
    texts: datasets.Dataset

    def train(
        self,
        folder: Path,
        key: str = "key",
        seed: int = 0,
        prompts: dict[str, str] | None = None,
        texts: datasets.Dataset | None = None,
        **changes: Any,
    ) -> Weights:
        """Train a fresh copy of the model for six steps; the weights it ends with."""
        fields: dict[str, Any] = {"steps": 6, "batch_size": BATCH, "save_every": 2}
        config = TrainSection(**{**fields, "learning_rate": 1e-3, **changes})
        model = load_model(EncoderConfig(model=str(self.model), max_length=32))
        data = self.texts if texts is None else texts
        known = Known(torch.from_numpy(self.rows.known), self.rows.span)
        loss = ContrastiveLoss(model, config.loss, known=known)
        fit(model, loss, data, config, folder, key, seed, prompts or {})
        return {name: values.clone() for name, values in model.state_dict().items()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    dataset = open_dataset(DatasetConfig(path=str(toy_dataset(folder / "toy"))), folder / "cache")
    qrels = dataset.qrels("train", 1)
    queries = qrels.with_positives()
    ids = np.random.default_rng(0).integers(-1, len(dataset.corpus), (queries.size, 2))
    hashes = text_hashes(dataset.corpus, folder / "cache")
    rows = training_set(qrels, NegativeRows(queries, ids), np.asarray(hashes), 2)
    assert rows.queries.size == PAIRS
    return Bench(tiny_model(folder / "tiny", dropout=0.1), rows, as_dataset(rows, dataset))


@dataclass(frozen=True)
class Whole:
    """An uninterrupted training of six steps."""

    folder: Path
    weights: Weights
    batches: Batches


@contextlib.contextmanager
def recorded() -> Iterator[Batches]:
    """The (query, positive) numbers of each step's batch, as they reach the loss."""
    seen: Batches = []
    forward = ContrastiveLoss.forward

    def record(self: ContrastiveLoss, features: Any, labels: Tensor) -> Tensor:
        seen.append(labels[:, :2].tolist())
        return forward(self, features, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContrastiveLoss, "forward", record)
        yield seen


@pytest.fixture(scope="module")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with recorded() as batches:
        return Whole(folder, bench.train(folder), batches)


@pytest.fixture
def steps() -> Iterator[Batches]:
    with recorded() as batches:
        yield batches


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def manifest_of(folder: Path) -> dict[str, Any]:
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert manifest.intact(folder)
    return manifest.data


def killed(run: Callable[[], object], at: int, before_sealing: bool = False) -> None:
    """Run until step `at` was saved and die: in the next step, or before the save is sealed."""
    calls = 0
    forward, write = ContrastiveLoss.forward, Manifest.write

    def die_in_step(self: ContrastiveLoss, features: Any, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > at:
            raise KilledError
        return forward(self, features, labels)

    def die_in_seal(folder: Path, **fields: Any) -> Manifest:
        if fields.get("step") == at:
            raise KilledError
        return write(folder, **fields)

    with pytest.MonkeyPatch.context() as patch:
        if before_sealing:
            patch.setattr(Manifest, "write", staticmethod(die_in_seal))
        else:
            patch.setattr(ContrastiveLoss, "forward", die_in_step)
        with pytest.raises(KilledError):
            run()


def test_training_twice_from_one_seed_gives_the_same_weights(
    bench: Bench, whole: Whole, tmp_path: Path
) -> None:
    assert same(bench.train(tmp_path), whole.weights)
    assert manifest_of(tmp_path) == manifest_of(whole.folder)
    assert not same(whole.weights, load_weights(bench.model))


def load_weights(folder: Path) -> Weights:
    model = load_model(EncoderConfig(model=str(folder), max_length=32))
    return dict(model.state_dict())


def test_the_seed_decides_the_weights(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    # a run's seed may be larger than what the trainer takes
    assert not same(bench.train(tmp_path, seed=2**40 + 5), whole.weights)


def test_what_is_saved_is_what_was_trained(whole: Whole) -> None:
    assert same(load_weights(whole.folder / "model"), whole.weights)
    assert sorted(p.name for p in whole.folder.iterdir()) == ["manifest.json", "model"]
    data = manifest_of(whole.folder)
    assert (data["kind"], data["key"], data["steps"]) == ("model", "key", 6)


@pytest.mark.parametrize(
    ("at", "save_every", "before_sealing", "redone"),
    [
        (1, 2, False, 6),
        pytest.param(3, 2, False, 4, marks=pytest.mark.slow),
        pytest.param(4, 2, False, 2, marks=pytest.mark.slow),
        (4, 2, True, 4),
        pytest.param(3, 3, False, 3, marks=pytest.mark.slow),
    ],
    ids=[
        "before any checkpoint",
        "at the end of an epoch, between two checkpoints",
        "in the second epoch, after a checkpoint",
        "while a checkpoint was written",
        "at the end of an epoch, after a checkpoint",
    ],
)
def test_a_killed_training_ends_with_the_same_bytes(
    bench: Bench,
    whole: Whole,
    tmp_path: Path,
    steps: Batches,
    at: int,
    save_every: int,
    before_sealing: bool,
    redone: int,
) -> None:
    killed(lambda: bench.train(tmp_path, save_every=save_every), at, before_sealing)
    assert finished(tmp_path, "key") is None
    steps.clear()
    assert same(bench.train(tmp_path, save_every=save_every), whole.weights)
    assert steps == whole.batches[-redone:]
    found, wanted = manifest_of(tmp_path), manifest_of(whole.folder)
    assert found["files"] == wanted["files"]
    assert found["training_loss"] == pytest.approx(wanted["training_loss"], rel=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "model"]


def test_a_training_killed_while_it_was_saved_is_only_saved_again(
    bench: Bench, whole: Whole, tmp_path: Path, steps: Batches
) -> None:
    def die(*args: object, **kwargs: object) -> None:
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "publish", die)
        with pytest.raises(KilledError):
            bench.train(tmp_path)
    assert finished(tmp_path, "key") is None
    steps.clear()
    assert same(bench.train(tmp_path), whole.weights)
    assert steps == []
    assert manifest_of(tmp_path) == manifest_of(whole.folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "model"]


def test_checkpoints_of_another_training_are_not_continued(
    bench: Bench, whole: Whole, tmp_path: Path, steps: Batches
) -> None:
    killed(lambda: bench.train(tmp_path, key="other", learning_rate=1e-2), 4)
    steps.clear()
    assert same(bench.train(tmp_path), whole.weights)
    assert len(steps) == 6


def test_every_epoch_shuffles_the_pairs_anew(bench: Bench, whole: Whole) -> None:
    numbers = bench.rows.text_of_N[bench.rows.positives]
    pairs = Counter(zip(bench.rows.queries.tolist(), numbers.tolist(), strict=True))
    first, second = (
        [(q, t) for batch in whole.batches[at : at + 3] for q, t in batch] for at in (0, 3)
    )
    assert first != second
    for epoch in (first, second):
        assert len(epoch) == 3 * BATCH
        # without replacement: only the last, smaller batch is left out
        assert Counter(epoch) <= pairs


def test_epochs_count_when_steps_are_not_given(
    bench: Bench, tmp_path: Path, steps: Batches
) -> None:
    bench.train(tmp_path, steps=None, epochs=2.0)
    assert len(steps) == 6
    assert manifest_of(tmp_path)["steps"] == 6


@pytest.mark.parametrize(
    "change", [{"learning_rate": 2e-3}, {"warmup": 0.5}, {"loss": {"temperature": 0.1}}], ids=str
)
def test_every_knob_reaches_the_training(
    bench: Bench, whole: Whole, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert not same(bench.train(tmp_path, **change), whole.weights)


def test_dropout_is_set_and_matters(bench: Bench, whole: Whole, tmp_path: Path) -> None:
    off = bench.train(tmp_path / "off", dropout=0.0)
    assert not same(off, whole.weights)
    assert same(bench.train(tmp_path / "own", dropout=0.1), whole.weights)


def test_without_dropout_training_mode_changes_no_vector(bench: Bench) -> None:
    model = load_model(EncoderConfig(model=str(bench.model), max_length=32))
    features = model.tokenize(["w1 w2 w3", "w4"])
    with torch.no_grad():
        wanted = model.eval()(dict(features))["sentence_embedding"]
        noisy = model.train()(dict(features))["sentence_embedding"]
        set_dropout(model, 0.0)
        quiet = model(dict(features))["sentence_embedding"]
    assert torch.allclose(quiet, wanted, atol=1e-6)
    assert not torch.allclose(noisy, wanted, atol=1e-2)
    set_dropout(model, 0.3)
    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.3}


def test_a_prompt_stands_before_the_texts_of_its_column(bench: Bench, tmp_path: Path) -> None:
    # documents of unlike prompts are embedded apart, which rounds otherwise
    prompts = {"query": "w7 w8 ", "positive": "w9 ", "negative_1": "w9 ", "negative_2": "w9 "}
    written = bench.texts.map(lambda row: {c: p + row[c] for c, p in prompts.items()})
    wanted = bench.train(tmp_path / "written", texts=written, steps=2)
    assert same(bench.train(tmp_path / "given", prompts=prompts, steps=2), wanted)
    assert not same(bench.train(tmp_path / "none", steps=2), wanted)


def test_a_batch_that_the_pairs_cannot_fill_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.train(tmp_path / "full", batch_size=PAIRS, steps=1)
    for changes in ({"steps": 1}, {"steps": None}):
        with pytest.raises(PyriteError, match=r"train\.batch_size=61.*60 training pairs"):
            bench.train(tmp_path / "over", batch_size=PAIRS + 1, **changes)
    assert not (tmp_path / "over").exists()


def test_standard_output_stays_empty(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.train(tmp_path, steps=2)
    assert capsys.readouterr().out == ""


def test_the_loss_is_the_mean_over_all_steps(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    forward = ContrastiveLoss.forward

    def record(self: ContrastiveLoss, features: Any, labels: Tensor) -> Tensor:
        loss = forward(self, features, labels)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(ContrastiveLoss, "forward", record)
    bench.train(tmp_path, steps=5)
    assert len(losses) == 5
    assert manifest_of(tmp_path)["training_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_bfloat16_training_keeps_float32_weights(bench: Bench, tmp_path: Path) -> None:
    weights = bench.train(tmp_path / "half", bf16=True, steps=2)
    assert {values.dtype for values in weights.values()} == {torch.float32}
    assert all(torch.isfinite(values).all() for values in weights.values())
    assert not same(weights, bench.train(tmp_path / "full", steps=2))


@pytest.fixture
def done(whole: Whole, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.folder, tmp_path / "done"))


def test_a_finished_model_is_recognised_by_its_key(done: Path, tmp_path: Path) -> None:
    found = finished(done, "key")
    assert found is not None
    assert found.data["steps"] == 6
    assert finished(done, "another key") is None
    assert finished(tmp_path / "nothing", "key") is None


@pytest.mark.parametrize("name", ["model.safetensors", "1_Pooling/config.json", "tokenizer.json"])
def test_a_model_with_a_changed_file_is_not_finished(done: Path, name: str) -> None:
    path = done / "model" / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert finished(done, "key") is None
    path.unlink()
    assert finished(done, "key") is None

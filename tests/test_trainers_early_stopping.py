from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quick import quick
from training_bench import (
    STOPPING,
    Bench,
    KilledError,
    facts_of,
    make_bench,
    same,
)

from pyrite.core.errors import PyriteError
from pyrite.core.sbert import load_model
from pyrite.trainers.best import best_step, exhausted
from pyrite.trainers.early_stopping import DevEvaluator
from pyrite.trainers.loss import ContrastiveLoss


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


def test_early_stopping_keeps_the_best_step(bench: Bench, tmp_path: Path) -> None:
    # a rate at which every step makes the model worse
    stopping = {"split": "dev", "every": 1, "patience": 3}
    options: dict[str, Any] = {"learning_rate": 0.3, "warmup": 0.0, "steps": 20, "dropout": 0.0}
    found = bench.train(tmp_path, early_stopping=stopping, **options)
    facts = facts_of(tmp_path)
    assert facts["steps"] == facts["best_step"] + 3 < 20
    config = bench.config(early_stopping=stopping)
    model = load_model(config.encoder)
    model.load_state_dict(found)
    value = DevEvaluator(config, config.train.early_stopping)(model)
    assert value == {"dev_ndcg@10": facts["best_value"]}


def test_a_training_killed_after_its_last_measurement_does_no_further_step(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyrite.trainers import fit as module

    stopping = {"split": "dev", "every": 1, "patience": 2}
    options: dict[str, Any] = {"learning_rate": 0.3, "warmup": 0.0, "steps": 20}
    wanted = bench.train(tmp_path / "whole", early_stopping=stopping, **options)

    def die(*args: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, "_save", die)
        with pytest.raises(KilledError):
            bench.train(tmp_path / "killed", early_stopping=stopping, **options)
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveLoss, "forward", die)
        found = bench.train(tmp_path / "killed", early_stopping=stopping, **options)
    assert same(found, wanted)
    assert facts_of(tmp_path / "killed")["steps"] == facts_of(tmp_path / "whole")["steps"]


def entry(step: int, value: float) -> dict[str, float]:
    return {"step": step, "eval_dev_ndcg@10": value}


@pytest.mark.parametrize(
    ("values", "best", "ends"),
    [
        ([], None, []),
        ([0.1], 1, []),
        ([0.1, 0.2, 0.3], 3, []),
        ([0.3, 0.2, 0.3], 1, [1, 2]),
        ([0.3, 0.2, 0.4, 0.4, 0.1], 3, [1, 2]),
    ],
)
def test_the_best_is_the_first_highest(
    values: list[float], best: int | None, ends: list[int]
) -> None:
    history = [{"step": 1, "loss": 9.0}, *(entry(i + 1, v) for i, v in enumerate(values))]
    assert best_step(history) == best
    assert [patience for patience in range(1, 6) if exhausted(history, patience)] == ends


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ("nope", r"early_stopping\.split=nope.*no such split.*dataset\.train_split=train"),
        ("copy", r"early_stopping\.split=copy: \d+ of its \d+ queries are in dataset\.train_split"),
        ("leak", r"early_stopping\.split=leak: \d+ of its \d+ queries are in dataset\.eval_split"),
    ],
)
def test_the_dev_split_must_be_there_and_its_own(bench: Bench, split: str, says: str) -> None:
    folder = Path(bench.run.dataset.path) / "qrels"
    (folder / "copy.tsv").write_bytes((folder / "train.tsv").read_bytes())
    (folder / "leak.tsv").write_bytes((folder / "test.tsv").read_bytes())
    section = bench.config(early_stopping={"split": split}).train.early_stopping
    with pytest.raises(PyriteError, match=says):
        DevEvaluator(bench.run, section)


def test_measuring_in_training_writes_no_vectors_to_the_cache(bench: Bench, tmp_path: Path) -> None:
    cache = bench.run.cache / "embeddings"
    before = sorted(cache.iterdir())
    bench.train(tmp_path, early_stopping=STOPPING)
    assert sorted(cache.iterdir()) == before
